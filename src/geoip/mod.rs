//! The country of an address, from a file that may be replaced at any time.
//!
//! ```text
//! file ──► Database ──► Countries ──► Snapshot ◄── country(), a batch from one database
//!            ▲              ▲
//!            └─ keep_fresh: looks at the file each interval, reads it where it is another
//! ```
//!
//! Nothing here stops an event. Without a database no address has a country; a file that can't be
//! used changes nothing, so that the database from before stays in use. Either is said and counted.

mod database;

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::FutureExt;
use kafka_client::blocking;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::observe::GeoIpMetrics;

pub use database::{About, Country, Damaged, Database};

use database::Shared;

/// The countries of addresses, as the newest good file has them. Clones are the same.
#[derive(Debug, Clone)]
pub struct Countries {
    current: Arc<RwLock<Option<Shared>>>,
    metrics: GeoIpMetrics,
}

/// The countries of addresses as they are at one time, whatever comes to the file.
#[derive(Debug, Clone)]
pub struct Snapshot {
    database: Option<Shared>,
    metrics: GeoIpMetrics,
}

impl Snapshot {
    /// The country of an address, where it is known.
    pub fn country(&self, address: IpAddr) -> Option<Country> {
        country(self.database.as_ref(), &self.metrics, address)
    }
}

fn country(database: Option<&Shared>, metrics: &GeoIpMetrics, address: IpAddr) -> Option<Country> {
    database?.country(address).unwrap_or_else(|Damaged| {
        metrics.failed_lookups.inc();
        None
    })
}

/// What tells one file from another at the same path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl Identity {
    fn of(path: &Path) -> Option<Self> {
        let found = std::fs::metadata(path).ok()?;
        let modified = (found.mtime(), found.mtime_nsec());
        Some(Self { device: found.dev(), inode: found.ino(), bytes: found.len(), modified })
    }
}

/// A file, and as what it was last looked at.
#[derive(Debug)]
pub struct CountryFile {
    path: PathBuf,
    /// `None` where it was not there; the outer `None` before the first look.
    seen: Option<Option<Identity>>,
}

impl Countries {
    /// No countries yet.
    pub fn new(metrics: GeoIpMetrics) -> Self {
        Self { current: Arc::default(), metrics }
    }

    /// The country of an address, where it is known.
    pub fn country(&self, address: IpAddr) -> Option<Country> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        country(current.as_ref(), &self.metrics, address)
    }

    /// Those that are there now. A database that is replaced is in memory for as long as one of these has it.
    pub fn snapshot(&self) -> Snapshot {
        let database = self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        Snapshot { database, metrics: self.metrics.clone() }
    }

    /// Takes what a file holds. Blocks.
    ///
    /// # Errors
    /// Why it can't be used; nothing has changed then.
    pub fn load(&self, path: &Path) -> Result<About, String> {
        let database = Database::read(path).inspect_err(|_| {
            self.metrics.failed_loads.inc();
        })?;
        let about = database.about();
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(database));
        self.metrics.loaded(about.built);
        Ok(about)
    }

    /// Looks at the file and, where it is another than before, takes what it holds. Blocks.
    pub fn refresh(&self, file: &mut CountryFile) {
        // Before it is read: what changes meanwhile is another file the next time.
        let identity = Identity::of(&file.path);
        if file.seen == Some(identity) {
            return;
        }
        file.seen = Some(identity);
        match self.load(&file.path) {
            Ok(about) => info!(%about, "countries of addresses are loaded"),
            Err(why) => {
                let had = self.current.read().unwrap_or_else(PoisonError::into_inner).is_some();
                let instead = if had { "the database from before stays in use" } else { "events get no country" };
                warn!(error = why, "enrich.geoip.file can't be used, {instead}; put a MaxMind DB file there");
            }
        }
    }

    /// Takes what the file holds now; then looks at it at each `interval` until `stop`, where nobody
    /// waits for that. The task ends with the token, or with the file's one way to fail: a panic.
    pub async fn keep_fresh(self, file: CountryFile, interval: Duration, stop: CancellationToken) -> JoinHandle<()> {
        let first = self.look(file).await;
        tokio::spawn(
            async move {
                let mut file = first;
                while let Some(known) = file.take() {
                    if stop.run_until_cancelled(tokio::time::sleep(interval)).await.is_none() {
                        return;
                    }
                    file = self.look(known).await;
                }
            }
            .boxed(),
        )
    }

    /// Refreshes on a thread that may block; `None` where that panicked.
    async fn look(&self, mut file: CountryFile) -> Option<CountryFile> {
        let countries = self.clone();
        let refreshed = blocking::run(move || {
            countries.refresh(&mut file);
            file
        });
        refreshed.await.inspect_err(|error| error!(%error, "enrich.geoip.file is not looked at any more")).ok()
    }
}

impl CountryFile {
    /// The file at `path`, not looked at yet.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), seen: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Metrics;

    const FIXTURE: &[u8] = include_bytes!("../../tests/data/countries.mmdb");

    /// The fixture, with another code for Great Britain.
    fn with_code(code: &[u8; 2]) -> Vec<u8> {
        let mut bytes = FIXTURE.to_vec();
        let at = bytes.windows(3).position(|three| three == b"BGB").unwrap(); // a text of two bytes
        bytes[at + 1..at + 3].copy_from_slice(code);
        bytes
    }

    #[test]
    fn a_replaced_file_is_taken_and_a_broken_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("countries.mmdb");
        let metrics = Metrics::new("1");
        let countries = Countries::new(metrics.geoip());
        let mut file = CountryFile::new(&path);
        let mut now = |bytes: Option<&[u8]>| {
            if let Some(bytes) = bytes {
                let new = folder.path().join("new");
                std::fs::write(&new, bytes).unwrap();
                std::fs::rename(&new, &path).unwrap();
            } else if path.exists() {
                std::fs::remove_file(&path).unwrap();
            }
            countries.refresh(&mut file);
            countries.refresh(&mut file); // does nothing, and counts nothing
            let found = countries.country([81, 2, 69, 1].into());
            found.map(|country| String::from_utf8(country.code().to_vec()).unwrap())
        };
        assert_eq!(now(None), None);
        assert_eq!(now(Some(FIXTURE)).as_deref(), Some("GB"));
        assert_eq!(now(Some(&FIXTURE[..FIXTURE.len() / 2])).as_deref(), Some("GB"));
        assert_eq!(now(None).as_deref(), Some("GB"));
        assert_eq!(now(Some(&with_code(b"IE"))).as_deref(), Some("IE"));
        assert_eq!(now(Some(&with_code(b"ie"))), None, "no code");
        let text = metrics.encode();
        for line in [
            "login_pipeline_geoip_loads_total{result=\"ok\"} 3",
            "login_pipeline_geoip_loads_total{result=\"failed\"} 3",
            "login_pipeline_geoip_database_build_time_seconds 1767312000",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_file_is_looked_at_by_the_interval() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("countries.mmdb");
        let countries = Countries::new(Metrics::new("1").geoip());
        let stop = CancellationToken::new();
        let (file, every) = (CountryFile::new(&path), Duration::from_secs(60));
        let fresh = countries.clone().keep_fresh(file, every, stop.clone()).await;
        std::fs::write(&path, FIXTURE).unwrap();
        while countries.country([81, 2, 69, 1].into()).is_none() {
            tokio::time::sleep(every).await;
        }
        stop.cancel();
        fresh.await.unwrap();
    }
}
