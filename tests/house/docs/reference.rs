//! `docs/reference/commands.md`, from what clap knows of the command line.

use std::fmt::Write;
use std::fs;

use clap::{Arg, Command, CommandFactory as _};
use login_pipeline::cli::Cli;
use login_pipeline::config::schema::KEYS;

#[test]
fn the_reference_of_commands_is_the_command_lines() {
    let path = super::root().join("docs/reference/commands.md");
    let rendered = render();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &rendered).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap();
    assert!(
        written == rendered,
        "docs/reference/commands.md is behind the command line: UPDATE_DOCS=1 cargo test --test house"
    );
}

fn render() -> String {
    let mut text = HEAD.to_owned();
    for command in Cli::command().get_subcommands() {
        add(&mut text, "login-pipeline", command);
    }
    text
}

/// A command, and those below it.
fn add(text: &mut String, before: &str, command: &Command) {
    let name = format!("{before} {}", command.get_name());
    let below = command.has_subcommands();
    let about = command.get_long_about().or_else(|| command.get_about()).map(ToString::to_string).unwrap_or_default();
    write!(text, "\n## `{name}`\n\n{}.\n", about.trim_end_matches('.')).unwrap();
    let shown: Vec<_> = command.get_arguments().filter(|arg| is_its_own(arg)).collect();
    if !shown.is_empty() {
        text.push_str("\n| argument | what it does | default |\n|---|---|---|\n");
    }
    for arg in shown {
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default().replace('\n', " ");
        let (help, default) = match help.split_once(" [default: ") {
            Some((help, default)) => (help.to_owned(), default.trim_end_matches(']').to_owned()),
            None => (help, default(arg)),
        };
        writeln!(text, "| `{}` | {} | {default} |", escaped(&argument(arg)), escaped(&help)).unwrap();
    }
    if !below && command.get_arguments().any(|arg| arg.get_id() == "config") {
        text.push_str("\nIt takes `--config FILE` and each key of the configuration.\n");
    }
    command.get_subcommands().for_each(|command| add(text, &name, command));
}

/// Whether it is this command's, and no key of the configuration.
fn is_its_own(arg: &Arg) -> bool {
    let id = arg.get_id().as_str();
    !arg.is_hide_set() && id != "config" && KEYS.iter().all(|key| key.path != id)
}

fn default(arg: &Arg) -> String {
    let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    match (takes_value(arg), defaults.as_slice()) {
        (true, []) if arg.is_required_set() => "required".to_owned(),
        (true, [_, ..]) => format!("`{}`", defaults.join(",")),
        _ => String::new(),
    }
}

/// Text for a cell of a table.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
}

/// How it is written.
fn argument(arg: &Arg) -> String {
    let values =
        arg.get_value_names().unwrap_or_default().iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" ");
    let short = arg.get_short().map(|short| format!("-{short}"));
    let aliases = arg.get_visible_aliases().unwrap_or_default();
    let long = arg.get_long().into_iter().chain(aliases).map(|long| format!("--{long}"));
    let named = short.into_iter().chain(long).collect::<Vec<_>>().join(", ");
    if named.is_empty() {
        return match arg.is_required_set() {
            _ if arg.get_num_args().is_some_and(|range| range.max_values() > 1) => format!("[{values}]..."),
            true => values,
            false => format!("[{values}]"),
        };
    }
    if takes_value(arg) { format!("{named} {values}") } else { named }
}

fn takes_value(arg: &Arg) -> bool {
    arg.get_action().takes_values()
}

const HEAD: &str = "\
# Commands

<!-- Made from the command line's own definition by tests/house/docs.rs; edit in src/cli. -->

`--help` says the same at a terminal, for a command or for all. A command that takes the configuration takes all of it: a
file by `--config FILE` or `LOGIN_PIPELINE_CONFIG`, and each key as a flag of its own name, such as `--kafka.brokers`
([configuration](configuration.md)). `top` and `completions` are not in the static binary and the image.

Exit codes are in [failures](failures.md).
";
