//! `docs/reference/configuration.md` is made from the keys. After a change of a key:
//!
//! ```sh
//! UPDATE_DOCS=1 cargo test --test house
//! ```

// Tests all of it, helpers too; clippy.toml's permission reaches only the functions marked so.

use std::fmt::Write;
use std::path::Path;

use login_pipeline::config::schema::{self, Default, KEYS, Key, Kind};

#[test]
fn the_documentation_is_the_keys() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/configuration.md");
    let rendered = render();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &rendered).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap();
    assert!(
        written == rendered,
        "docs/reference/configuration.md is behind src/config/keys.rs: UPDATE_DOCS=1 cargo test --test house"
    );
}

fn render() -> String {
    let mut text = HEAD.to_owned();
    for section in schema::sections() {
        write!(text, "\n## `{section}`\n\n| key | what it does | allowed | default |\n|---|---|---|---|\n").unwrap();
        for key in KEYS.iter().filter(|key| key.section() == section) {
            let default = match key.default {
                Default::Text(default) => format!("`{default}`"),
                Default::Unset(meaning) => meaning.to_owned(),
            };
            writeln!(text, "| `{}` | {} | {} | {default} |", key.path, key.doc, allowed(key)).unwrap();
        }
    }
    text.push_str(TAIL);
    text
}

fn allowed(key: &Key) -> String {
    match key.kind {
        Kind::Words(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        kind => kind.to_string(),
    }
}

const HEAD: &str = "\
# Configuration

<!-- Made from src/config/keys.rs by tests/house/config_docs.rs; edit there. -->

Each key can be set in four places, the later over the earlier:

1. its default;
2. a TOML file, `--config FILE` or `LOGIN_PIPELINE_CONFIG=FILE`: `brokers = [\"localhost:9092\"]` under `[kafka]`;
3. the environment: `LOGIN_PIPELINE__KAFKA__BROKERS=localhost:9092`, with `__` between section and name; an empty
   variable is an unset one;
4. a flag: `--kafka.brokers localhost:9092`.

A secret (`kafka.sasl.password`) can't be a flag, since lists of processes show those, and prints as `[redacted]`
wherever it would be shown.

Lists are TOML arrays in the file and separated by commas elsewhere. Durations are written as `500ms`, `30s` or
`1m 30s`, sizes as `512KiB`, `4MiB` or a number of bytes.

`login-pipeline check` prints what it all amounts to, as TOML. A wrong configuration never starts: every mistake
is told at once, and the exit code is 64. So is what would do nothing: a key of a mode, store or protocol that is not
chosen (set to another value than its default; `group.id` may stand anywhere, and `offsets.path` where the mode or store is
said), a rule on a field that is removed, a value that no event is written with, a rule that others hide.
";

const TAIL: &str = "
## `[enrich.static]`

Fields that every good event gets, in the file only: up to 32, each a name and text, a number or a boolean. Names are as
for `enrich.geoip.field`; one of the event's own fields, of those that the pipeline adds, or the country's is an error. A
field of such a name that the event has from its sender is replaced.

```toml
[enrich.static]
region = \"eu-central-1\"
cell = 7
```

## `[[route]]`

Rules that send some of the good records elsewhere, in the file only. They are tried in order; the first whose condition
holds decides, and a record that no rule takes goes to `output.topic`. Rules look at the event as it is written: device
types in lower case, `latency_ms` and `processed_at` as they will be, pseudonyms in place of what `privacy` covers.

```toml
[[route]]
when = { field = \"device_type\", equals = \"ios\" }
topic = \"processed-user-login-ios\"

[[route]]
name = \"abroad\"
when = { field = \"locale\", one_of = [\"RU\", \"CA\"] }
topic = \"processed-user-login-abroad\"

[[route]]
name = \"late-canary\"
when = { all = [{ header = \"canary\", equals = \"1\" }, { field = \"latency_ms\", gt = 60000 }] }
topic = \"processed-user-login-late\"

[[route]]
when = { field = \"app_version\", matches = '^1\\.' }
drop = true
```

| key | what it does |
|---|---|
| `name` | What `login_pipeline_rule_records_total`, `/status`, `top` and the page call the rule; its topic, or `drop`, unless said otherwise |
| `when.field`, `when.header` | The field of the event, or the header of the record (the last one of that name), to look at |
| `when.equals`, `when.one_of`, `when.matches`, `when.lt`, `when.gt` | Exactly one: the value, a list of values, a regular expression that matches anywhere unless anchored, or a number that a number is less or greater than. Where there is no such field or header, or no number, it does not hold |
| `when.all`, `when.any`, `when.not` | In their place: conditions of which all hold, a list of which one holds, or one that doesn't |
| `topic`, `drop` | Exactly one: the topic that such records go to (neither the source, nor the dead-letter, nor the offsets topic), or `drop = true` to drop and count them |
";
