//! The modules depend downwards only: docs/concepts/architecture.md draws the layers, this test holds them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::sources::rust_files;

/// The layers, the highest first. Modules of one line know nothing of each other. Below all of them are the
/// crates in crates/, which can't know them.
const LAYERS: &[&[&str]] = &[
    &["cli"],
    &["app"],
    &["supervisor"],
    &["assignment", "worker"],
    &["stages"],
    &["dead_letter", "generator", "geoip", "offsets", "tracker"],
    &["output", "source"],
    &["kafka"],
    &["retry"],
    &["observe"],
    &["audit", "http_client", "ownership"],
    &["config"],
];

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// The top module that a source file belongs to.
fn module_of(file: &Path) -> String {
    let relative = file.strip_prefix("src").unwrap();
    let first = relative.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// The top modules that a text names by `crate::` or `crate::{...}`.
fn named(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    for (at, path) in code.match_indices("crate::") {
        let rest = &code[at + path.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.insert(identifier(rest));
            continue;
        };
        let group = &group[..group.find("};").unwrap_or(group.len())];
        let mut depth = 0;
        for item in group.split_inclusive([',', '{', '}']) {
            if depth == 0 {
                found.insert(identifier(item.trim()));
            }
            depth += item.matches('{').count();
            depth -= item.matches('}').count().min(depth);
        }
    }
    found.remove("");
    found
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

#[test]
fn dependencies_point_down() {
    let mut wrong = Vec::new();
    let mut links = 0;
    for file in rust_files(Path::new("src")) {
        let module = module_of(&file);
        if module == "main" || module == "lib" {
            continue;
        }
        let layer = layer_of(&module).unwrap_or_else(|| panic!("{module} has no layer: add it where it belongs"));
        for used in named(&fs::read_to_string(&file).unwrap()) {
            let Some(below) = layer_of(&used) else { continue };
            links += 1;
            if used != module && below <= layer {
                wrong.push(format!("{} uses {used}", file.display()));
            }
        }
    }
    assert!(links > 50, "found only {links} links: the test has gone blind");
    assert!(wrong.is_empty(), "dependencies that point up or sideways:\n{}", wrong.join("\n"));
}

#[test]
fn every_layered_module_exists() {
    for module in LAYERS.concat() {
        let exists = Path::new("src").join(module).is_dir() || Path::new("src").join(format!("{module}.rs")).is_file();
        assert!(exists, "{module} is in a layer, but not in src");
    }
}

#[test]
fn links_are_found_in_all_their_forms() {
    let text = "use crate::{a::{b, c}, d};\nuse crate::e::F; // crate::\n// crate::no\nlet x = crate::g();";
    let found: Vec<_> = named(text).into_iter().collect();
    assert_eq!(found, ["a", "d", "e", "g"]);
}

#[test]
fn backoff_has_one_user() {
    for file in rust_files(Path::new("src")) {
        let text = fs::read_to_string(&file).unwrap();
        let uses = text.lines().any(|line| line.trim_start().starts_with("use backoff::"));
        assert_eq!(uses, file == Path::new("src/retry/backoff.rs"), "{}", file.display());
    }
}
