//! One small file a partition, written whole beside the old one and renamed over it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use kafka_client::blocking;

use super::{Checkpoint, OffsetStore, StoreError, codec};
use crate::ownership::PartitionOwnership;

/// The lock file's name. A topic may have it, too: see [`FileStore::folder_of`].
const LOCK: &str = "lock";

/// Partitions are written by so many at a time, at most.
const WRITERS: usize = 16;

/// The file store: `<folder>/<topic>/<partition>`, and a lock file that keeps a second process out.
#[derive(Debug, Clone)]
pub struct FileStore {
    folder: PathBuf,
    /// Held as long as any clone of the store lives; closing it frees the lock. None where the
    /// store is only looked at.
    _lock: Option<Arc<File>>,
    /// Held by who writes one of these partitions: the file that is written beside the old one has one name.
    writing: Arc<[Mutex<()>; WRITERS]>,
}

/// A partition and its checkpoint, or why that can't be read.
pub type Listed = (i32, Result<Checkpoint, StoreError>);

impl FileStore {
    /// Opens the folder, making it where it is missing, and locks it.
    ///
    /// # Errors
    /// Where the folder can't be made or written, or another process has it.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        make_folder(folder)?;
        let path = folder.join(LOCK);
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let lock = lock.map_err(io_error("open the lock file", &path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { _lock: Some(lock.into()), ..Self::peek(folder) }),
            Err(fs::TryLockError::WouldBlock) => Err(StoreError::Locked { path }),
            Err(fs::TryLockError::Error(source)) => Err(StoreError::Io { doing: "lock", path, source }),
        }
    }

    /// Looks at a folder that another process may work in: each file is whole at any time. Write
    /// nothing through this.
    pub fn peek(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), _lock: None, writing: Arc::default() }
    }

    /// Every checkpoint of a topic, by partition; damaged ones among them as errors.
    ///
    /// # Errors
    /// Where the folder can't be listed.
    pub fn list(&self, topic: &str) -> Result<Vec<Listed>, StoreError> {
        let folder = self.folder_of(topic);
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
        self.write_under(checkpoint, &PartitionOwnership::unlimited())
    }

    /// Keeps a checkpoint of an ownership that has not ended. A write that was late may be of an earlier ownership than
    /// what is there by now.
    fn write_under(&self, checkpoint: &Checkpoint, ownership: &PartitionOwnership) -> Result<(), StoreError> {
        let Checkpoint { topic, partition, .. } = checkpoint;
        let writer = usize::try_from(partition.unsigned_abs()).unwrap_or_default() % WRITERS;
        let _alone = self.writing.get(writer).map(|writer| writer.lock().unwrap_or_else(PoisonError::into_inner));
        if ownership.has_ended() {
            return Err(StoreError::NotHeld { topic: topic.clone(), partition: *partition });
        }
        let path = self.path(topic, *partition);
        let folder = self.folder_of(topic);
        make_folder(&folder)?;
        let temporary = path.with_extension("new");
        let written = File::create(&temporary).and_then(|mut file| {
            file.write_all(codec::encode(checkpoint).as_bytes())?;
            file.sync_all()
        });
        written.map_err(io_error("write", &temporary))?;
        fs::rename(&temporary, &path).map_err(io_error("rename a new file to", &path))?;
        sync_folder(&folder)
    }

    /// The folder of a topic's checkpoints, which has its name. That of a topic called as the lock file has a name
    /// that no topic can have, so that the lock is where it always was, for processes of any version.
    fn folder_of(&self, topic: &str) -> PathBuf {
        if topic == LOCK { self.folder.join(format!("{topic}~")) } else { self.folder.join(topic) }
    }

    fn path(&self, topic: &str, partition: i32) -> PathBuf {
        self.folder_of(topic).join(partition.to_string())
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.clone();
        match blocking::run(move || work(&store)).await {
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

    /// The lock keeps other processes out; the ownership is of this one's own workers.
    fn store<'a>(
        &'a self,
        checkpoint: &'a Checkpoint,
        ownership: &'a PartitionOwnership,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let (checkpoint, ownership) = (checkpoint.clone(), ownership.clone());
        self.blocking(move |store| store.write_under(&checkpoint, &ownership)).boxed()
    }
}

/// Makes a folder and those above it that are missing, each one's name to last.
fn make_folder(folder: &Path) -> Result<(), StoreError> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().map(|above| if above.as_os_str().is_empty() { Path::new(".") } else { above });
    if let Some(above) = above.filter(|above| !above.exists()) {
        make_folder(above)?;
    }
    match fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {} // another was faster
        made => made.map_err(io_error("create the folder", folder))?,
    }
    above.map_or(Ok(()), sync_folder)
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
    use crate::record::Offset;
    use crate::topic::TopicId;

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

    /// A file that is renamed before its bytes are on the disk is empty after a power cut. What can't be synced, as a
    /// device can't, is an error therefore.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_checkpoint_is_on_the_disk_before_it_takes_the_place_of_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::open(folder.path()).unwrap();
        store.write(&checkpoint(0, 42)).unwrap();
        std::os::unix::fs::symlink("/dev/null", folder.path().join("user-login/0.new")).unwrap();
        assert!(matches!(store.write(&checkpoint(0, 43)), Err(StoreError::Io { doing: "write", .. })));
        assert_eq!(store.read("user-login", 0).unwrap(), Some(checkpoint(0, 42)));
    }

    #[test]
    fn a_topic_called_as_the_lock_file_has_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::open(folder.path()).unwrap();
        let of_lock = |offset| Checkpoint { topic: LOCK.to_owned(), ..checkpoint(0, offset) };
        store.write(&of_lock(5)).unwrap();
        store.write(&checkpoint(0, 7)).unwrap();
        assert_eq!(store.read(LOCK, 0).unwrap(), Some(of_lock(5)));
        assert_eq!(store.list(LOCK).unwrap().len(), 1);
        assert!(matches!(FileStore::open(folder.path()), Err(StoreError::Locked { .. })), "the lock holds");
        drop(store);
        let store = FileStore::open(folder.path()).unwrap();
        assert_eq!(store.read(LOCK, 0).unwrap(), Some(of_lock(5)));
        assert!(!crate::topic::is_name("lock~"), "no topic has that folder's name");
    }

    #[test]
    fn two_writers_of_one_partition_leave_a_whole_file() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::open(folder.path()).unwrap();
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let store = store.clone();
                scope.spawn(move || {
                    for offset in 0..25 {
                        store.write(&checkpoint(3, writer * 1_000_000_000 + offset)).unwrap();
                    }
                });
            }
        });
        assert!(store.read("user-login", 3).unwrap().is_some_and(|found| found.next_offset.0 % 1_000_000_000 == 24));
        let left = fs::read_dir(folder.path().join("user-login")).unwrap().count();
        assert_eq!(left, 1, "nothing is left beside it");
    }

    #[tokio::test]
    async fn a_late_write_of_an_ended_ownership_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::open(folder.path()).unwrap();
        let (old, new) = (PartitionOwnership::unlimited(), PartitionOwnership::unlimited());
        store.store(&checkpoint(0, 5), &old).await.unwrap();
        old.end();
        store.store(&checkpoint(0, 7), &new).await.unwrap();
        let late = store.store(&checkpoint(0, 6), &old).await;
        assert!(matches!(late, Err(StoreError::NotHeld { partition: 0, .. })));
        assert_eq!(store.read("user-login", 0).unwrap(), Some(checkpoint(0, 7)));
    }

    #[test]
    fn folders_above_are_made_and_may_be_relative() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b/c");
        FileStore::open(&deep).unwrap().write(&checkpoint(0, 1)).unwrap();
        assert!(deep.join("user-login/0").is_file());
        make_folder(Path::new(".")).unwrap();
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
