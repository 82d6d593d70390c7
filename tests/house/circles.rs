//! No files depend on each other in a circle: `crate::`, `super::` and `self::` names are followed, through re-exports,
//! to the files that they mean. Tests, and what only they have, are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::sources::rust_files;
use regex_lite::Regex;

/// A module, by the names on its path.
type Module = Vec<String>;

/// Folders and files of tests within a crate's sources.
const TESTS: &[&str] = &["tests", "testing", "simulation", "scripted", "fuzzing"];

/// The sources of one crate, by module; without comments and tests.
fn sources(root: &Path) -> BTreeMap<Module, String> {
    let module = |file: &PathBuf| -> Option<(Module, String)> {
        let relative = file.strip_prefix(root).unwrap().with_extension("");
        let mut names: Module = relative.iter().map(|name| name.to_str().unwrap().to_owned()).collect();
        if names == ["main"] || names.iter().any(|name| TESTS.contains(&name.as_str())) {
            return None;
        }
        if names.last().is_some_and(|last| last == "mod") || names == ["lib"] {
            names.pop();
        }
        Some((names, code(&fs::read_to_string(file).unwrap())))
    };
    rust_files(root).iter().filter_map(module).collect()
}

/// A text without comments, and without the module of tests at its end.
fn code(text: &str) -> String {
    let tests = Regex::new(r"#\[cfg\(test\)\]\n(?:pub(?:\([a-z:]+\))? )?mod tests \{").unwrap();
    let text = tests.find(text).map_or(text, |tests| &text[..tests.start()]);
    text.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

/// The single paths of a tree, as in `a::{b, c::{d, e}}`.
fn flattened(prefix: &str, tree: &str, found: &mut Vec<Vec<String>>) {
    let (mut depth, mut parts, mut part) = (0, Vec::new(), String::new());
    for c in tree.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if c == ',' && depth == 0 { parts.push(std::mem::take(&mut part)) } else { part.push(c) }
    }
    parts.push(part);
    for part in parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty()) {
        match part.split_once('{') {
            Some((before, inside)) => {
                flattened(&format!("{prefix}{before}"), inside.trim_end().strip_suffix('}').unwrap(), found);
            }
            None => found.push(
                format!("{prefix}{}", part.split(" as ").next().unwrap())
                    .split("::")
                    .map(|name| name.trim().to_owned())
                    .collect(),
            ),
        }
    }
}

/// The paths that a text imports, those that it exports, and those that it names elsewhere.
fn paths(code: &str) -> (Vec<Vec<String>>, Vec<Vec<String>>) {
    let import = Regex::new(r"(?m)^\s*(pub(?:\([a-z: ]+\))?\s+)?use\s+([^;]+);").unwrap();
    let named = Regex::new(r"\b(?:crate|super|self)(?:::\w+)+").unwrap();
    let (mut used, mut exported) = (Vec::new(), Vec::new());
    for found in import.captures_iter(code) {
        let to = if found.get(1).is_some() { &mut exported } else { &mut used };
        flattened("", found.get(2).unwrap().as_str(), to);
    }
    let visibility = Regex::new(r"pub\([a-z: ]+\)").unwrap();
    let rest = import.replace_all(code, "");
    let rest = visibility.replace_all(&rest, "");
    used.extend(named.find_iter(&rest).map(|path| path.as_str().split("::").map(str::to_owned).collect::<Vec<_>>()));
    (used, exported)
}

/// Which files name which, by module.
fn links(sources: &BTreeMap<Module, String>) -> BTreeMap<&Module, BTreeSet<Module>> {
    let all: BTreeMap<&Module, _> = sources.iter().map(|(module, code)| (module, paths(code))).collect();
    let absolute = |from: &Module, path: &[String]| -> Option<Module> {
        let (mut base, mut path) = (from.clone(), path);
        match path.first()?.as_str() {
            "crate" => (base, path) = (Vec::new(), &path[1..]),
            "self" => path = &path[1..],
            "super" => {
                while path.first().is_some_and(|name| name == "super") {
                    base.pop();
                    path = &path[1..];
                }
            }
            child => {
                let of = [base.as_slice(), &[child.to_owned()]].concat();
                all.contains_key(&of).then_some(())?;
            }
        }
        Some([base.as_slice(), path].concat())
    };
    let resolved = |mut path: Module| -> Option<Module> {
        for _ in 0..16 {
            let length = (0..=path.len()).rev().find(|length| all.contains_key(&path[..*length].to_vec()))?;
            let (module, rest) = (path[..length].to_vec(), path[length..].to_vec());
            let exports = &all[&module].1;
            let export = rest.first().and_then(|name| exports.iter().find(|path| path.last() == Some(name)));
            let Some(export) = export else { return Some(module) };
            // Another crate's is in no file here.
            let next = absolute(&module, export)?;
            if next == path {
                return Some(module);
            }
            path = [next.as_slice(), &rest[1..]].concat();
        }
        None
    };
    let named = |module: &Module| -> BTreeSet<Module> {
        let used = all[module].0.iter();
        used.filter_map(|path| resolved(absolute(module, path)?)).filter(|named| named != module).collect()
    };
    sources.keys().map(|module| (module, named(module))).collect()
}

/// The circles: for each the modules that reach themselves through one another.
fn circles(sources: &BTreeMap<Module, String>) -> BTreeSet<Vec<String>> {
    let links = links(sources);
    let reach = |from: &Module| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from.clone()]);
        while let Some(module) = next.pop() {
            next.extend(links[&module].iter().filter(|linked| seen.insert((*linked).clone())).cloned());
        }
        seen
    };
    let reached: BTreeMap<&Module, BTreeSet<Module>> = links.keys().map(|module| (*module, reach(module))).collect();
    let circle = |module: &Module| -> Option<Vec<String>> {
        let with: Vec<_> = reached[module].iter().filter(|other| reached[other].contains(module)).collect();
        (!with.is_empty()).then(|| with.iter().map(|module| module.join("::")).collect())
    };
    links.keys().filter_map(|module| circle(module)).collect()
}

/// The sources of every crate here.
fn crates() -> Vec<PathBuf> {
    let mut all = vec![PathBuf::from("src")];
    all.extend(fs::read_dir("crates").unwrap().map(|entry| entry.unwrap().path().join("src")));
    all
}

#[test]
fn no_files_depend_on_each_other_in_a_circle() {
    let mut files = 0;
    for root in crates() {
        let sources = sources(&root);
        files += sources.len();
        let found = circles(&sources);
        assert!(found.is_empty(), "{}: {found:#?}", root.display());
    }
    assert!(files > 250, "only {files} files are found: the test has gone blind");
}

#[test]
fn a_planted_circle_is_found_through_a_re_export() {
    let planted = [
        ("", "mod a;\nmod b;\npub use a::A;"),
        ("a", "use crate::b::f;\npub struct A;"),
        ("b", "use super::{A, x::{y, z}};\npub fn f(_: A) {}"),
        (
            "c",
            "use crate::A; // use crate::d\nfn g() { crate::a::h() }\n#[cfg(test)]\nmod tests {\n    use crate::d;\n}",
        ),
        ("d", "use crate::c::g;"),
    ];
    let module = |path: &str| path.split("::").filter(|name| !name.is_empty()).map(str::to_owned).collect::<Module>();
    let sources = planted.iter().map(|(path, text)| (module(path), code(text))).collect();
    assert_eq!(circles(&sources), BTreeSet::from([vec!["a".to_owned(), "b".to_owned()]]));
}
