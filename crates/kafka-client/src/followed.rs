//! Something made of files, and made again when they change: TLS settings of certificates, keys and CAs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ring::digest;
use tokio::time::Instant;
use tracing::{info, warn};
use zeroize::Zeroizing;

use crate::pem;

/// For how long files that can't be used leave what was there before: as while they are replaced, or a volume is
/// mounted anew. After that they count: a CA file that was emptied would else be trusted for ever, by this process
/// and by none that starts after it.
pub const KEPT: Duration = Duration::from_secs(5 * 60);

/// A file that was read.
pub struct File {
    /// Its path.
    pub path: PathBuf,
    /// Its contents; it may be a private key.
    pub bytes: Zeroizing<Vec<u8>>,
}

impl File {
    /// Its path, and what is in it.
    pub fn read(&self) -> (&Path, &[u8]) {
        (&self.path, &self.bytes)
    }
}

/// What is made of `N` files, each of which may be unset.
pub struct Followed<T, const N: usize> {
    /// The keys that name the files, for texts.
    keys: &'static str,
    paths: [Option<PathBuf>; N],
    /// For how long what was made outlives its files; `None` for as long as the process runs.
    kept: Option<Duration>,
    loaded: Mutex<Option<Loaded<T>>>,
}

/// What was made, and a digest of the files that it was made of.
struct Loaded<T> {
    of: digest::Digest,
    made: Arc<T>,
    /// Since when the files can't be used, and why.
    broken: Option<(Instant, String)>,
}

impl<T, const N: usize> fmt::Debug for Followed<T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Followed").field("paths", &self.paths).finish_non_exhaustive()
    }
}

impl<T, const N: usize> Followed<T, N> {
    /// Reads nothing yet.
    pub fn new(keys: &'static str, paths: [Option<PathBuf>; N]) -> Self {
        Self { keys, paths, kept: Some(KEPT), loaded: Mutex::default() }
    }

    /// Keeps in use what was made until the files make another: of what others check, such as a
    /// certificate, they see themselves how old it is.
    pub fn for_ever(self) -> Self {
        Self { kept: None, ..self }
    }

    /// Why the files can't be used, as [`Followed::current`] found them last.
    pub fn trouble(&self) -> Option<String> {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.as_ref().and_then(|loaded| loaded.broken.as_ref()).map(|(_, why)| why.clone())
    }

    /// What the files give now. They are read each time, since they are small and connections are rare, and
    /// compared by what is in them: times of files and of the links that Kubernetes puts in front of them tell
    /// less. Files that can't be used just now, as while they are being replaced, leave what was for [`KEPT`], or
    /// [for ever](Followed::for_ever).
    ///
    /// # Errors
    /// What is wrong with a file, where there were no good ones before, or not for minutes.
    pub fn current(&self, make: impl FnOnce(&[Option<File>; N]) -> Result<T, String>) -> Result<Arc<T>, String> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let found = self.read().and_then(|files| {
            let of = digest_of(&files);
            match &*loaded {
                Some(known) if known.of.as_ref() == of.as_ref() => Ok(None),
                _ => Ok(Some(Loaded { of, made: Arc::new(make(&files)?), broken: None })),
            }
        });
        match (found, &mut *loaded) {
            (Ok(Some(found)), known) => {
                if known.is_some() {
                    info!("what {} names has changed: new connections use it", self.keys);
                }
                Ok(Arc::clone(&known.insert(found).made))
            }
            (Ok(None), Some(known)) => {
                known.broken = None;
                Ok(Arc::clone(&known.made))
            }
            (Err(why), Some(known)) => {
                let since = known.broken.as_ref().map_or_else(Instant::now, |(since, _)| *since);
                known.broken = Some((since, why.clone()));
                let Some(kept) = self.kept else {
                    warn!("{why}; new connections go on with what was there before");
                    return Ok(Arc::clone(&known.made));
                };
                let broken_for = since.elapsed();
                let Some(left) = kept.checked_sub(broken_for).filter(|left| !left.is_zero()) else {
                    let minutes = broken_for.as_secs() / 60;
                    return Err(format!(
                        "{why}; it has been so for {minutes} minutes, and what was there before is not used any longer"
                    ));
                };
                let left = humantime::format_duration(Duration::from_secs(left.as_secs()));
                warn!("{why}; new connections go on with what was there before, for {left} yet");
                Ok(Arc::clone(&known.made))
            }
            (Err(why), None) => Err(why),
            (Ok(None), None) => Err("no settings".to_owned()),
        }
    }

    fn read(&self) -> Result<[Option<File>; N], String> {
        let mut files = [const { None }; N];
        for (file, path) in files.iter_mut().zip(&self.paths) {
            if let Some(path) = path {
                *file = Some(File { path: path.clone(), bytes: pem::read(path)? });
            }
        }
        Ok(files)
    }
}

fn digest_of(files: &[Option<File>]) -> digest::Digest {
    let mut context = digest::Context::new(&digest::SHA256);
    for file in files.iter().flatten() {
        context.update(digest::digest(&digest::SHA256, &file.bytes).as_ref());
    }
    context.finish()
}
