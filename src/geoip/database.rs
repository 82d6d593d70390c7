//! A MaxMind DB file in memory.

use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use kafka_client::pem;
use maxminddb::{MaxMindDbError, PathElement, Reader};

/// The largest file taken: the largest databases with countries have some 100 MB, and all of it is
/// held in memory, twice while it is replaced.
const LARGEST: u64 = 512 * 1024 * 1024;

/// Where databases of countries, cities and the like have the country's code.
const ISO_CODE: [PathElement<'static>; 2] = [PathElement::Key("country"), PathElement::Key("iso_code")];

/// A country's code of ISO 3166-1: two capital letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Country([u8; 2]);

impl Country {
    /// The country with this code; `None` where it is no code.
    pub fn of(code: &str) -> Option<Self> {
        let letters = code.as_bytes().try_into().ok()?;
        code.bytes().all(|letter| letter.is_ascii_uppercase()).then_some(Self(letters))
    }

    /// The code, in ASCII.
    pub fn code(&self) -> &[u8; 2] {
        &self.0
    }
}

/// Whatever the file holds, a look-up ends soon and does not panic.
#[derive(Debug)]
pub struct Database {
    reader: Reader<Vec<u8>>,
}

/// What a database says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Its type, such as `GeoLite2-Country`.
    pub kind: String,
    /// When it was built, in seconds since the Unix epoch.
    pub built: u64,
    /// The newest protocol it has addresses of: 4 or 6.
    pub ip_version: u16,
}

/// The database can't tell: it is damaged where the address leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damaged;

impl Database {
    /// The database in the file at `path`.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn read(path: &Path) -> Result<Self, String> {
        if std::fs::metadata(path).is_ok_and(|found| found.len() > LARGEST) {
            return Err(pem::wrong(path, &format!("has more than {LARGEST} bytes")));
        }
        let bytes = std::mem::take(&mut *pem::read(path)?);
        Self::parse(bytes).map_err(|why| pem::wrong(path, &format!("is not a MaxMind DB file: {why}")))
    }

    /// The database in these bytes.
    ///
    /// # Errors
    /// Why there is none.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, String> {
        let parsed = guarded(|| Reader::from_source(bytes)).ok_or("damaged")?;
        parsed.map(|reader| Self { reader }).map_err(|error| error.to_string())
    }

    /// The country of an address, where the database has one for it.
    ///
    /// # Errors
    /// Where the database is damaged.
    pub fn country(&self, address: IpAddr) -> Result<Option<Country>, Damaged> {
        let found = guarded(|| self.reader.lookup(address)?.decode_path::<&str>(&ISO_CODE)).ok_or(Damaged)?;
        match found {
            Ok(code) => Ok(code.and_then(Country::of)),
            // The database has no addresses of this version.
            Err(MaxMindDbError::InvalidInput { .. }) => Ok(None),
            Err(_) => Err(Damaged),
        }
    }

    /// What it says of itself.
    pub fn about(&self) -> About {
        let metadata = self.reader.metadata();
        let kind = metadata.database_type.chars().filter(|c| !c.is_control()).take(64).collect();
        About { kind, built: metadata.build_epoch, ip_version: metadata.ip_version }
    }
}

/// A panic of the library costs an answer, and not the event that asked.
fn guarded<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

impl std::fmt::Display for About {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let built = i64::try_from(self.built).ok().and_then(|built| chrono::DateTime::from_timestamp(built, 0));
        let built = built.map_or_else(|| "at an unknown time".to_owned(), |built| built.date_naive().to_string());
        write!(f, "{}, built {built}, IPv{}", self.kind, self.ip_version)
    }
}

/// A database that is shared, so that it can be replaced.
pub(super) type Shared = Arc<Database>;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIXTURE: &[u8] = include_bytes!("../../tests/data/countries.mmdb");

    fn country(database: &Database, address: &str) -> Result<Option<String>, Damaged> {
        let found = database.country(address.parse().unwrap())?;
        Ok(found.map(|country| String::from_utf8(country.code().to_vec()).unwrap()))
    }

    #[test]
    fn tells_countries() {
        let database = Database::parse(FIXTURE.to_vec()).unwrap();
        for (address, code) in [
            ("81.2.69.1", Some("GB")),
            ("199.172.111.135", Some("US")),
            ("2001:480::1", Some("US")),
            ("2a02:d9c0::1", Some("TR")),
            ("10.0.0.1", None),     // private
            ("203.0.113.7", None),  // a record without a country
            ("198.51.100.7", None), // a code that is none
            ("2001:db8::1", None),
            ("::", None),
        ] {
            assert_eq!(country(&database, address), Ok(code.map(str::to_owned)), "{address}");
        }
        assert_eq!(database.about().to_string(), "Test-Country, built 2026-01-02, IPv6");
    }

    #[test]
    fn a_country_is_two_capital_letters() {
        assert!(Country::of("DE").is_some());
        assert!(["", "D", "DEU", "de", "D\"", "ü"].iter().all(|code| Country::of(code).is_none()));
    }

    #[test]
    fn a_file_cut_anywhere_is_none_or_tells_less() {
        for end in 0..FIXTURE.len() {
            if let Ok(database) = Database::parse(FIXTURE[..end].to_vec()) {
                let _ = database.country([81, 2, 69, 1].into());
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_none_or_a_database(bytes in prop::collection::vec(any::<u8>(), 0..400), address in any::<u32>()) {
            let marked = [&bytes[..], b"\xab\xcd\xefMaxMind.com", &bytes].concat();
            for bytes in [bytes, marked] {
                if let Ok(database) = Database::parse(bytes) {
                    let _ = database.country(std::net::Ipv4Addr::from(address).into());
                }
            }
        }

        #[test]
        fn a_damaged_file_has_one_outcome(
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
            v4 in any::<u32>(),
            v6 in any::<u128>(),
        ) {
            let mut bytes = FIXTURE.to_vec();
            for (at, byte) in damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok(database) = Database::parse(bytes) {
                let addresses = [std::net::Ipv4Addr::from(v4).into(), std::net::Ipv6Addr::from(v6).into(), [81, 2, 69, 1].into()];
                for address in addresses {
                    let _ = database.country(address);
                }
                let _ = database.about().to_string();
            }
        }
    }
}
