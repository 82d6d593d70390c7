//! One small file a partition, written whole beside the old one and renamed over it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Checkpoint, OffsetStore, StoreError, codec};
use crate::tenure::Tenure;

/// The file store: `<folder>/<topic>/<partition>`, and a lock file that keeps a second process out.
#[derive(Debug, Clone)]
pub struct FileStore {
    folder: PathBuf,
    /// Held as long as any clone of the store lives; closing it frees the lock. None where the
    /// store is only looked at.
    _lock: Option<std::sync::Arc<File>>,
}

/// A partition and its checkpoint, or why that can't be read.
pub type Listed = (i32, Result<Checkpoint, StoreError>);

impl FileStore {
    /// Opens the folder, making it where it is missing, and locks it.
    ///
    /// # Errors
    /// Where the folder can't be made or written, or another process has it.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        fs::create_dir_all(folder).map_err(io_error("create the folder", folder))?;
        let path = folder.join("lock");
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let lock = lock.map_err(io_error("open the lock file", &path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { folder: folder.to_owned(), _lock: Some(lock.into()) }),
            Err(fs::TryLockError::WouldBlock) => Err(StoreError::Locked { path }),
            Err(fs::TryLockError::Error(source)) => Err(StoreError::Io { doing: "lock", path, source }),
        }
    }

    /// Looks at a folder that another process may work in: each file is whole at any time. Write
    /// nothing through this.
    pub fn peek(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), _lock: None }
    }

    /// Every checkpoint of a topic, by partition; damaged ones among them as errors.
    ///
    /// # Errors
    /// Where the folder can't be listed.
    pub fn list(&self, topic: &str) -> Result<Vec<Listed>, StoreError> {
        let folder = self.folder.join(topic);
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(io_error("list", &folder))?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let name = entry.map_err(io_error("list", &folder))?.file_name();
            let Some(partition) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            if let Some(checkpoint) = self.read(topic, partition).transpose() {
                found.push((partition, checkpoint));
            }
        }
        found.sort_by_key(|(partition, _)| *partition);
        Ok(found)
    }

    /// The checkpoint of a partition.
    ///
    /// # Errors
    /// As [`OffsetStore::load`].
    pub fn read(&self, topic: &str, partition: i32) -> Result<Option<Checkpoint>, StoreError> {
        let path = self.path(topic, partition);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.map_err(io_error("read", &path))?,
        };
        match codec::decode(&bytes) {
            Ok(checkpoint) if checkpoint.topic == topic && checkpoint.partition == partition => Ok(Some(checkpoint)),
            Ok(Checkpoint { topic, partition, .. }) => Err(StoreError::Foreign { path, topic, partition }),
            Err(source) => Err(StoreError::Damaged { path, source }),
        }
    }

    /// Keeps a checkpoint.
    ///
    /// # Errors
    /// As [`OffsetStore::store`].
    pub fn write(&self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        let path = self.path(&checkpoint.topic, checkpoint.partition);
        let folder = self.folder.join(&checkpoint.topic);
        if !folder.is_dir() {
            fs::create_dir_all(&folder).map_err(io_error("create the folder", &folder))?;
            sync_folder(&self.folder)?;
        }
        let temporary = path.with_extension("new");
        let written = File::create(&temporary).and_then(|mut file| {
            file.write_all(codec::encode(checkpoint).as_bytes())?;
            file.sync_all()
        });
        written.map_err(io_error("write", &temporary))?;
        fs::rename(&temporary, &path).map_err(io_error("rename a new file to", &path))?;
        sync_folder(&folder)
    }

    fn path(&self, topic: &str, partition: i32) -> PathBuf {
        self.folder.join(topic).join(partition.to_string())
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.clone();
        match tokio::task::spawn_blocking(move || work(&store)).await {
            Ok(result) => result,
            Err(error) => {
                let source = io::Error::other(error);
                Err(StoreError::Io { doing: "work in", path: self.folder.clone(), source })
            }
        }
    }
}

impl OffsetStore for FileStore {
    fn load<'a>(&'a self, topic: &'a str, partition: i32) -> BoxFuture<'a, Result<Option<Checkpoint>, StoreError>> {
        let topic = topic.to_owned();
        self.blocking(move |store| store.read(&topic, partition)).boxed()
    }

    /// The lock keeps everybody else out, so that the tenure is not asked.
    fn store<'a>(&'a self, checkpoint: &'a Checkpoint, _: &'a Tenure) -> BoxFuture<'a, Result<(), StoreError>> {
        let checkpoint = checkpoint.clone();
        self.blocking(move |store| store.write(&checkpoint)).boxed()
    }
}

/// Makes a rename or a new name in the folder last.
fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io_error("sync the folder", folder))
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError::Io { doing, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Offset, TopicId};

    fn checkpoint(partition: i32, next_offset: i64) -> Checkpoint {
        Checkpoint {
            topic: "user-login".to_owned(),
            topic_id: Some(TopicId([7; 16])),
            partition,
            next_offset: Offset(next_offset),
            leader_epoch: None,
        }
    }

    #[test]
    fn keeps_checkpoints_across_opens() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::open(folder.path()).unwrap();
        assert_eq!(store.read("user-login", 3).unwrap(), None);
        store.write(&checkpoint(3, 42)).unwrap();
        store.write(&checkpoint(3, 43)).unwrap();
        store.write(&checkpoint(11, 5)).unwrap();
        drop(store);
        let store = FileStore::open(folder.path()).unwrap();
        assert_eq!(store.read("user-login", 3).unwrap(), Some(checkpoint(3, 43)));
        let listed: Vec<_> = store.list("user-login").unwrap().into_iter().map(|(p, c)| (p, c.unwrap())).collect();
        assert_eq!(listed, [(3, checkpoint(3, 43)), (11, checkpoint(11, 5))]);
        assert!(store.list("other").unwrap().is_empty());
    }

    #[test]
    fn keeps_a_second_process_out() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::open(folder.path()).unwrap();
        assert!(matches!(FileStore::open(folder.path()), Err(StoreError::Locked { .. })));
        drop(store);
        FileStore::open(folder.path()).unwrap();
    }

    #[test]
    fn refuses_torn_foreign_and_empty_files_loudly() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::open(folder.path()).unwrap();
        store.write(&checkpoint(0, 42)).unwrap();
        let path = folder.path().join("user-login/0");
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let error = store.read("user-login", 0).unwrap_err();
            assert!(matches!(error, StoreError::Damaged { .. }), "{length} bytes: {error}");
        }
        fs::write(folder.path().join("user-login/1"), &whole).unwrap();
        assert!(matches!(store.read("user-login", 1), Err(StoreError::Foreign { partition: 0, .. })));
        assert_eq!(store.list("user-login").unwrap().len(), 2);
    }

    #[test]
    fn a_crash_between_write_and_rename_leaves_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::open(folder.path()).unwrap();
        store.write(&checkpoint(0, 42)).unwrap();
        fs::write(folder.path().join("user-login/0.new"), b"half").unwrap();
        assert_eq!(store.read("user-login", 0).unwrap(), Some(checkpoint(0, 42)));
        assert_eq!(store.list("user-login").unwrap().len(), 1);
        store.write(&checkpoint(0, 43)).unwrap();
        assert_eq!(store.read("user-login", 0).unwrap(), Some(checkpoint(0, 43)));
    }

    #[test]
    fn says_where_it_can_not_write() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, b"").unwrap();
        let error = FileStore::open(&file.join("offsets")).unwrap_err().to_string();
        assert!(error.contains("file/offsets"), "{error}");
    }
}
