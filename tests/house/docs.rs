//! README and docs/: links lead somewhere, chapters are in the book, and each command that is shown is one.
//! `docs/reference/commands.md` is made from the command line's own definition. After a change of it:
//!
//! ```sh
//! UPDATE_DOCS=1 cargo test --test house
//! ```

// Tests all of it, helpers too; clippy.toml's permission reaches only the functions marked so.

mod markdown;
#[cfg(all(feature = "completions", feature = "demo", feature = "top"))]
mod reference;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use clap::Parser as _;
use clap::error::ErrorKind;
use login_pipeline::cli::Cli;
use login_pipeline::config::schema::{self, KEYS};

use crate::docs::markdown::Document;

/// What a newcomer reads in one go.
const README_BYTES: u64 = 8 * 1024;

/// Names of such a form that are no keys: a table of names of one's own, and settings of brokers.
const NO_KEYS: &[&str] = &[
    "enrich.static",
    "group.consumer.session.timeout.ms",
    "offsets.import", // an action of the audit
    "offsets.retention.minutes",
    "offsets.set",
];

/// Where documents are, beside those at the root.
const FOLDERS: &[&str] = &["docs", "deploy"];

#[test]
fn the_readme_is_short() {
    let bytes = fs::metadata(root().join("README.md")).unwrap().len();
    assert!(bytes <= README_BYTES, "README.md has {bytes} bytes, {README_BYTES} are allowed: move something to docs/");
}

#[test]
fn every_link_leads_somewhere() {
    let documents = documents();
    let mut links = 0;
    let mut dead = Vec::new();
    for (path, document) in &documents {
        for link in document.links.iter().filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
            links += 1;
            if let Err(why) = follow(path, link, &documents) {
                dead.push(format!("{}: {link}: {why}", path.display()));
            }
        }
    }
    assert!(links > 100, "{links}");
    assert!(dead.is_empty(), "{dead:#?}");
}

#[test]
fn every_chapter_is_in_the_summary() {
    let documents = documents();
    let summary = Path::new("docs/SUMMARY.md");
    let listed: Vec<_> = documents[summary].links.iter().map(|link| normal(&Path::new("docs").join(link))).collect();
    let chapters: BTreeSet<_> =
        documents.keys().filter(|path| path.starts_with("docs") && *path != summary).cloned().collect();
    assert_eq!(listed.iter().cloned().collect::<BTreeSet<_>>(), chapters);
    assert_eq!(listed.len(), chapters.len(), "a chapter is listed twice");
    for (path, title) in listed.iter().zip(&documents[summary].labels) {
        assert_eq!(documents[path].title.as_ref(), Some(title), "{} has another title", path.display());
    }
}

#[test]
fn every_command_shown_is_one() {
    let mut parsed = 0;
    let mut wrong = Vec::new();
    for (path, document) in documents() {
        for words in document.commands().iter().filter_map(|words| of_the_program(words)) {
            parsed += 1;
            if let Err(error) = Cli::try_parse_from(&words)
                && !matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion)
            {
                wrong.push(format!("{}: {}: {error}", path.display(), words.join(" ")));
            }
        }
    }
    assert!(parsed > 40, "{parsed}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Where a piece of code is a name below a section of the configuration, it is a key or a section.
#[test]
fn every_key_named_is_one() {
    let sections: BTreeSet<_> = schema::sections().flat_map(|name| [name, name.split('.').next().unwrap()]).collect();
    let is_one = |name: &str| sections.contains(name) || KEYS.iter().any(|key| key.path == name);
    let mut named = BTreeSet::new();
    let mut wrong = BTreeSet::new();
    for (path, document) in documents() {
        for name in document.code.iter().filter_map(|code| code.split(" = ").next()) {
            let plain = name.chars().all(|c| c.is_ascii_lowercase() || matches!(c, '_' | '.'));
            if plain && name.split_once('.').is_some_and(|(section, _)| sections.contains(section)) {
                named.insert(name.to_owned());
                if !is_one(name) && !NO_KEYS.contains(&name) {
                    wrong.insert(format!("{}: {name}", path.display()));
                }
            }
        }
    }
    assert!(named.len() > 60, "{named:?}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_target_shown_is_in_the_makefile() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let mut targets = BTreeSet::new();
    for (path, document) in documents() {
        for words in document.commands().iter().filter(|words| words.first().is_some_and(|first| first == "make")) {
            // What is behind them are settings: `BENCH="--only musl"`.
            for target in words[1..].iter().filter(|word| !word.contains('=')) {
                let is_one = makefile.lines().any(|line| line.starts_with(&format!("{target}:")));
                assert!(is_one, "{}: make {target}", path.display());
                targets.insert(target.clone());
            }
        }
    }
    assert!(targets.len() > 8, "{targets:?}");
}

/// The words of a command of this program's, the program first.
fn of_the_program(words: &[String]) -> Option<Vec<String>> {
    const NAME: &str = "login-pipeline";
    let arguments = if let Some(arguments) = words.strip_prefix(&["cargo", "run", "--release", "--"].map(str::to_owned))
    {
        arguments
    } else {
        words.strip_prefix(&[NAME.to_owned()])?
    };
    (!arguments.is_empty()).then(|| [&[NAME.to_owned()], arguments].concat())
}

/// Whether a link of this document leads to a file, and its fragment to a heading there.
fn follow(from: &Path, link: &str, documents: &BTreeMap<PathBuf, Document>) -> Result<(), String> {
    let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
    let target = match file {
        "" => from.to_owned(),
        file => normal(&from.parent().unwrap().join(file)),
    };
    if !root().join(&target).exists() {
        return Err(format!("there is no {}", target.display()));
    }
    match (anchor, documents.get(&target)) {
        (Some(anchor), Some(document)) if !document.anchors.contains(anchor) => {
            Err(format!("no heading there is #{anchor}"))
        }
        (Some(_), None) => Err("its anchors are not known".to_owned()),
        _ => Ok(()),
    }
}

/// Every document, by its path within the repository.
fn documents() -> BTreeMap<PathBuf, Document> {
    let mut found = Vec::new();
    collect(&root(), false, &mut found);
    FOLDERS.iter().for_each(|folder| collect(&root().join(folder), true, &mut found));
    found
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            (path.strip_prefix(root()).unwrap().to_owned(), Document::parse(&text))
        })
        .collect()
}

fn collect(folder: &Path, below: bool, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && below {
            collect(&path, below, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

/// The path without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => assert!(normal.pop(), "{} leaves the repository", path.display()),
            Component::CurDir => {}
            component => normal.push(component),
        }
    }
    normal
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
