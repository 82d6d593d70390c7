//! Planted defects are no older than the sources: each patch of `tests/plants` changes lines that are there, once, and
//! its head says what it breaks and which suites are to notice that.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const FOLDER: &str = "tests/plants";
/// Those that no suite notices yet.
const UNNOTICED: &str = "tests/plants/unnoticed";
/// The most lines that a plant takes out or puts in.
const MOST_LINES: usize = 6;

/// A patch, taken apart.
#[derive(Debug, Default)]
struct Plant {
    breaks: String,
    plant: String,
    suites: Vec<String>,
    hunks: Vec<Hunk>,
}

/// What a patch changes in one place.
#[derive(Debug, Default)]
struct Hunk {
    path: String,
    /// The lines that must be there: those that are taken out, and those around them.
    before: Vec<String>,
    taken: usize,
    put: usize,
}

impl Plant {
    fn parse(text: &str) -> Result<Self, String> {
        let (mut plant, mut path) = (Self::default(), String::new());
        let (mut hunks, mut is_hunk): (Vec<Hunk>, bool) = (Vec::new(), false);
        for line in text.lines() {
            let said = |field: &str| line.strip_prefix(field).map(str::to_owned);
            if let Some(old) = line.strip_prefix("--- a/") {
                (path, is_hunk) = (old.to_owned(), false);
            } else if let Some(new) = line.strip_prefix("+++ b/") {
                if new != path {
                    return Err(format!("{path} becomes {new}"));
                }
            } else if line.starts_with("@@ ") {
                hunks.push(Hunk { path: path.clone(), ..Hunk::default() });
                is_hunk = true;
            } else if let Some(hunk) = hunks.last_mut().filter(|_| is_hunk) {
                match line.split_at_checked(1).unwrap_or((" ", "")) {
                    ("+", _) => hunk.put += 1,
                    (kind @ ("-" | " "), rest) => {
                        hunk.taken += usize::from(kind == "-");
                        hunk.before.push(rest.to_owned());
                    }
                    _ => return Err(format!("{line:?} is no line of a hunk")),
                }
            } else if let Some(breaks) = said("Breaks: ") {
                plant.breaks = breaks;
            } else if let Some(what) = said("Plant: ") {
                plant.plant = what;
            } else if let Some(suites) = said("Suites: ") {
                plant.suites = suites.split(' ').map(str::to_owned).collect();
            }
        }
        plant.hunks = hunks;
        Ok(plant)
    }

    /// What is wrong with it, with the sources that `read` gives.
    fn flaws(&self, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
        let mut flaws = Vec::new();
        for (field, text) in [("Breaks", &self.breaks), ("Plant", &self.plant)] {
            if text.trim().is_empty() || text.contains('|') {
                flaws.push(format!("its head says nothing behind `{field}: `, or has a `|`"));
            }
        }
        if self.suites.is_empty() {
            flaws.push("its head says nothing behind `Suites: `".to_owned());
        }
        flaws.extend(self.suites.iter().filter(|suite| !is_suite(suite)).map(|suite| format!("{suite:?} is no suite")));
        let changed: usize = self.hunks.iter().map(|hunk| hunk.taken.max(hunk.put)).sum();
        if !(1..=MOST_LINES).contains(&changed) {
            flaws.push(format!("it changes {changed} lines: one is a plant, {MOST_LINES} are the most"));
        }
        for Hunk { path, before, .. } in &self.hunks {
            let Some(source) = read(path) else {
                flaws.push(format!("{path} is not there"));
                continue;
            };
            let source: Vec<_> = source.lines().collect();
            let found = source.windows(before.len().max(1)).filter(|lines| lines == before).count();
            if found != 1 {
                flaws.push(format!("the lines that it changes are {found} times in {path}: write the patch again"));
            }
        }
        flaws
    }
}

/// Whether `tools/plants.sh` can run it.
fn is_suite(suite: &str) -> bool {
    let package = |name: &str| name == "login-pipeline" || Path::new("crates").join(name).is_dir();
    match suite.split_once(':') {
        None => suite == "simulation",
        Some(("it", filter)) => !filter.is_empty(),
        Some(("unit", rest)) => package(rest.split(':').next().unwrap_or_default()),
        Some(_) => false,
    }
}

fn patches(folder: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|path| path.is_file()).collect();
    paths.sort();
    paths
}

#[test]
fn every_plant_applies_and_says_what_it_breaks() {
    let (noticed, unnoticed) = (patches(FOLDER), patches(UNNOTICED));
    let (mut numbers, mut flaws) = (BTreeSet::new(), Vec::new());
    for path in noticed.iter().chain(&unnoticed) {
        let name = path.file_name().unwrap().to_str().unwrap();
        let number = name.strip_suffix(".patch").and_then(|name| name.split_once('-')).map(|(number, _)| number);
        if !number.is_some_and(|number| number.len() == 2 && number.parse::<u8>().is_ok() && numbers.insert(number)) {
            flaws.push(format!("{name} is not called NN-name.patch, or another has its number"));
        }
        let found = match Plant::parse(&fs::read_to_string(path).unwrap()) {
            Ok(plant) => plant.flaws(|path| fs::read_to_string(path).ok()),
            Err(why) => vec![why],
        };
        flaws.extend(found.into_iter().map(|flaw| format!("{name}: {flaw}")));
    }
    assert!(flaws.is_empty(), "{}", flaws.join("\n"));
    assert!(noticed.len() >= 40, "{} plants are few", noticed.len());
}

/// The page's table has a row for each plant, which says what its head says.
#[test]
fn every_plant_is_on_its_page() {
    let page = fs::read_to_string("docs/dev/plants.md").unwrap();
    let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| |")).collect();
    let expected: Vec<_> = patches(FOLDER).iter().map(|path| begins_as(path)).collect();
    let found: Vec<_> = rows.iter().map(|row| row.split(" | ").take(3).collect::<Vec<_>>().join(" | ")).collect();
    assert_eq!(found, expected, "run it: UPDATE_DOCS=1 make plants PLANT=...");
    let unnoticed: Vec<_> = rows.iter().filter(|row| row.contains("| nobody |")).collect();
    assert!(unnoticed.is_empty(), "{unnoticed:#?}");
}

/// How a plant's row begins.
fn begins_as(path: &Path) -> String {
    let plant = Plant::parse(&fs::read_to_string(path).unwrap()).unwrap();
    let number = path.file_name().unwrap().to_str().unwrap().split('-').next().unwrap();
    format!("| {number} | {} | {}", plant.breaks, plant.plant)
}

#[test]
fn a_plant_that_no_longer_applies_is_found() {
    const PATCH: &str = "Breaks: a sentence.\nPlant: a change\nSuites: simulation unit:kafka-client:outbox it:dlq\n\n\
                         --- a/x.rs\n+++ b/x.rs\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n \n";
    let flaws = |patch: &str, source: &str| {
        let source = (!source.is_empty()).then(|| source.to_owned());
        Plant::parse(patch).unwrap().flaws(|path| source.clone().filter(|_| path == "x.rs")).len()
    };
    assert_eq!(flaws(PATCH, "zero\none\ntwo\n\nthree\n"), 0);
    assert_eq!(flaws(PATCH, "one\n2\n\n"), 1, "it is done already");
    assert_eq!(flaws(PATCH, "one\ntwo\n\none\ntwo\n\n"), 1, "in two places");
    assert_eq!(flaws(PATCH, ""), 1, "the file is gone");
    for (said, instead) in [
        ("Breaks: a sentence.\n", ""),
        ("a change", "a | change"),
        ("simulation", "simulations"),
        ("kafka-client", "kafka-server"),
        ("it:dlq", "it:"),
        ("+2\n", "+2\n+3\n+4\n+5\n+6\n+7\n+8\n"),
    ] {
        assert_eq!(flaws(&PATCH.replace(said, instead), "one\ntwo\n\n"), 1, "{instead:?}");
    }
    assert!(Plant::parse(&PATCH.replace("-two", "*two")).is_err());
    assert!(Plant::parse(&PATCH.replace("b/x.rs", "b/y.rs")).is_err());
}
