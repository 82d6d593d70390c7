//! What changes while all runs: the configuration's rules and fields, with which instances are started again one after
//! another, and the database of countries, which each of them reads again.
//!
//! Each release writes its number into what it writes: so each record says by which rules it is to be judged.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use fastrand::Rng;
use serde_json::Value;
use test_support::oracle::{Asked, Output, judge_as};

use crate::ledger::{ABROAD, OUTPUT};

/// The databases of countries: that of the tests, which this was made of.
const COUNTRIES: &[u8] = include_bytes!("../../data/countries.mmdb");

/// How many releases there are.
pub(crate) const RELEASES: u8 = 4;

/// The field that a release's number is written to.
const RELEASE: &str = "release";
/// The field that countries are written to.
const COUNTRY: &str = "country";

/// What stands where the database of countries is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Countries {
    /// A database.
    First,
    /// Another, which knows the United States by another code.
    Second,
    /// No database: half of one.
    Half,
    /// Nothing.
    Gone,
}

impl Countries {
    pub(crate) fn draw(random: &mut Rng) -> Self {
        [Self::First, Self::Second, Self::Half, Self::Gone][random.usize(..4)]
    }

    /// Whether it can be read.
    pub(crate) fn is_sound(self) -> bool {
        matches!(self, Self::First | Self::Second)
    }

    /// Puts it there, as whole as it is.
    ///
    /// # Panics
    /// Where that can't be written.
    pub(crate) fn put(self, path: &Path) {
        let bytes = match self {
            Self::First => COUNTRIES.to_vec(),
            Self::Second => with_canada(COUNTRIES),
            Self::Half => COUNTRIES[..COUNTRIES.len() / 2].to_vec(),
            Self::Gone => {
                let _ = fs::remove_file(path); // it may be gone
                return;
            }
        };
        let beside = path.with_extension("new");
        fs::write(&beside, bytes).and_then(|()| fs::rename(&beside, path)).expect("a file of the simulation's own");
    }

    fn country_of(self) -> fn(IpAddr) -> Option<&'static str> {
        match self {
            Self::First => |address| country(address, "US"),
            Self::Second => |address| country(address, "CA"),
            Self::Half | Self::Gone => |_| None,
        }
    }
}

/// The same database, which says CA where it said US.
fn with_canada(database: &[u8]) -> Vec<u8> {
    let mut database = database.to_vec();
    let of_two_bytes = b'B';
    for at in 0..database.len() - 2 {
        if database[at..].starts_with(&[of_two_bytes, b'U', b'S']) {
            database[at + 1..at + 3].copy_from_slice(b"CA");
        }
    }
    database
}

/// What `tests/data/countries.py` wrote of addresses such as events have.
fn country(address: IpAddr, of_most: &'static str) -> Option<&'static str> {
    let IpAddr::V4(address) = address else { return None };
    match address.octets() {
        [81, 2, 69, _] => Some("GB"),
        [198, 51, 100, _] | [203, 0, 113, _] => None,
        [128..=191 | 199, ..] => Some(of_most),
        [64..=79, ..] => Some("TR"),
        _ => None,
    }
}

/// The file of a release, beside the keys that all have.
pub(crate) fn file(release: u8, has_countries: bool) -> String {
    let field = |name: &str, test: &str| format!("{{ field = {name:?}, {test} }}");
    let when = match release {
        0 => None,
        1 => Some(field("locale", "one_of = [\"RU\", \"DE\", \"FR\", \"TX\", \"NY\", \"CA\"]")),
        2 if has_countries => Some(field(COUNTRY, "equals = \"US\"")),
        2 => Some(field("locale", "matches = \"^[A-M]\"")),
        _ => Some(format!("{{ not = {} }}", field("device_type", "equals = \"ios\""))),
    };
    let rule = when.map_or_else(String::new, |when| format!("[[route]]\nwhen = {when}\ntopic = {ABROAD:?}\n"));
    format!("{rule}[enrich.static]\n{RELEASE} = {release}\n")
}

/// Whether a release sends an event abroad, by what is written of it.
fn is_abroad(release: u8, has_countries: bool, written: &Value) -> bool {
    let text = |name: &str| written[name].as_str();
    match release {
        0 => false,
        1 => text("locale").is_some_and(|locale| ["RU", "DE", "FR", "TX", "NY", "CA"].contains(&locale)),
        2 if has_countries => text(COUNTRY) == Some("US"),
        2 => {
            text("locale").and_then(|locale| locale.bytes().next()).is_some_and(|first| (b'A'..=b'M').contains(&first))
        }
        _ => text("device_type") != Some("ios"),
    }
}

/// By what records may be written.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    has_countries: bool,
    releases: BTreeSet<u8>,
    /// What instances may have read.
    countries: BTreeSet<Countries>,
}

impl Rules {
    /// By release 0, and the first database where there are any.
    pub(crate) fn new(has_countries: bool) -> Self {
        let first = if has_countries { Countries::First } else { Countries::Gone };
        Self { has_countries, releases: [0].into(), countries: [first].into() }
    }

    /// From now on by this one, too.
    pub(crate) fn deployed(&mut self, release: u8) {
        self.releases.insert(release);
    }

    /// From now on with these, too, which an instance may have read.
    pub(crate) fn has_read(&mut self, countries: Countries) {
        self.countries.insert(countries);
    }

    /// By these releases, with these countries, and no others.
    pub(crate) fn only(&self, releases: BTreeSet<u8>, countries: BTreeSet<Countries>) -> Self {
        let countries = if self.has_countries { countries } else { self.countries.clone() };
        Self { releases, countries, ..*self }
    }

    /// Holds what was written to a topic against its source.
    pub(crate) fn check(&self, topic: &str, source: Option<&[u8]>, written: Option<&[u8]>) -> Result<(), String> {
        let output = Output::parse(written)?;
        let told: Value = serde_json::from_slice(written.unwrap_or_default()).map_err(|error| error.to_string())?;
        let release = told[RELEASE].as_u64().and_then(|release| u8::try_from(release).ok());
        let release = release
            .filter(|release| self.releases.contains(release))
            .ok_or_else(|| format!("by release {} where there are {:?}", told[RELEASE], self.releases))?;
        let right = if is_abroad(release, self.has_countries, &told) { ABROAD } else { OUTPUT };
        if topic != right {
            return Err(format!("in {topic}, where release {release} would have it in {right}"));
        }
        let mut wrong = String::new();
        for countries in &self.countries {
            let asked = Asked {
                country: self.has_countries.then(|| (COUNTRY.to_owned(), countries.country_of())),
                statics: vec![(RELEASE.to_owned(), release.to_string())],
                ..Asked::default()
            };
            match judge_as(source, &asked).and_then(|expected| output.check(&expected)) {
                Ok(()) => return Ok(()),
                Err(why) => wrong = why,
            }
        }
        Err(format!("{wrong} (by release {release}, country {}, of {:?})", told[COUNTRY], self.countries))
    }
}

#[cfg(test)]
mod tests {
    use login_pipeline::geoip::Database;

    use super::*;

    #[test]
    fn databases_have_the_countries_that_are_expected_of_them() {
        let addresses =
            [[81, 2, 69, 1], [128, 0, 0, 1], [191, 255, 1, 1], [199, 9, 9, 9], [64, 1, 1, 1], [79, 9, 9, 9]];
        let others =
            [[80, 0, 0, 1], [192, 0, 0, 1], [198, 51, 100, 7], [203, 0, 113, 7], [1, 1, 1, 1], [63, 255, 9, 9]];
        let second = with_canada(COUNTRIES);
        for (countries, bytes) in [(Countries::First, COUNTRIES.to_vec()), (Countries::Second, second)] {
            let database = Database::parse(bytes).unwrap();
            for address in addresses.into_iter().chain(others) {
                let found = database.country(address.into()).unwrap();
                let found = found.map(|found| String::from_utf8(found.code().to_vec()).unwrap());
                assert_eq!(found.as_deref(), countries.country_of()(address.into()), "{countries:?} {address:?}");
            }
        }
        assert!(Database::parse(COUNTRIES[..COUNTRIES.len() / 2].to_vec()).is_err());
    }
}
