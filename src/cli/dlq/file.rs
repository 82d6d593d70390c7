//! An export, read like a log of one partition whose offsets are its lines, counted from 0.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ring::digest::{Context, SHA256};
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

use super::Failure;
use crate::cli::UsageError;
use crate::dead_letter::Exported;
use crate::record::Offset;

/// As much of the file is in memory at a time.
const CHUNK: usize = 1 << 20;

/// A file as it was when the command began. Whoever changes it meanwhile ends the command.
#[derive(Debug)]
pub(super) struct ExportFile {
    name: Name,
    seen: Seen,
    /// Of all its bytes, in hexadecimal: what tells it from every other.
    pub sha256: String,
    /// How many lines it has.
    pub lines: Offset,
}

impl ExportFile {
    /// Reads it once, to know it by its digest.
    ///
    /// # Errors
    /// Where it can't be read, or holds nothing.
    pub(super) async fn open(path: &Path) -> Result<Self, Failure> {
        let name = Name(path.to_owned());
        // Before it is opened: a pipe would wait for whoever writes to it.
        let found = tokio::fs::metadata(path).await.map_err(|error| name.unreadable(&error))?;
        if !found.is_file() {
            return Err(UsageError(format!("{name} is no file: it is read more than once")).into());
        }
        let (mut file, seen) = name.open().await?;
        let (mut digest, mut lines, mut last) = (Context::new(&SHA256), 0, b'\n');
        let mut chunk = vec![0; CHUNK];
        loop {
            let length = file.read(&mut chunk).await.map_err(|error| name.unreadable(&error))?;
            let Some(read @ [.., end]) = chunk.get(..length) else { break };
            digest.update(read);
            lines += read.iter().map(|byte| i64::from(*byte == b'\n')).sum::<i64>();
            last = *end;
        }
        // The last one may lack its end.
        lines += i64::from(last != b'\n');
        if lines == 0 {
            return Err(UsageError(format!("{name} is empty: no dead letter was exported to it")).into());
        }
        let sha256 = digest.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { name, seen, sha256, lines: Offset(lines) })
    }

    /// Reads from this line on; one that is longer than `most` bytes is refused.
    ///
    /// # Errors
    /// Where it can't be read, or is not what it was.
    pub(super) async fn lines_from(&self, begin: Offset, most: usize) -> Result<Lines, Failure> {
        let (file, seen) = self.name.open().await?;
        let reader = BufReader::with_capacity(CHUNK, file);
        let mut lines =
            Lines { name: self.name.clone(), expected: self.seen, reader, line: Vec::new(), next: Offset(0), most };
        lines.check(seen)?;
        while lines.next < begin && lines.read_line().await? {}
        Ok(lines)
    }
}

/// A file that is read line by line.
#[derive(Debug)]
pub(super) struct Lines {
    name: Name,
    expected: Seen,
    reader: BufReader<File>,
    line: Vec<u8>,
    /// The line that is read next.
    pub next: Offset,
    most: usize,
}

impl Lines {
    /// The next dead letters, at most so many; none at the end.
    ///
    /// # Errors
    /// Where the file can't be read, was changed, or has a line that is no dead letter. It tells nothing of
    /// what stands there.
    pub(super) async fn read(&mut self, most: usize) -> Result<Vec<Exported>, Failure> {
        let seen = Seen::of(self.reader.get_ref()).await.map_err(|error| self.name.unreadable(&error))?;
        self.check(seen)?;
        let (mut letters, mut bytes) = (Vec::new(), 0);
        while letters.len() < most && bytes < CHUNK && self.read_line().await? {
            bytes += self.line.len();
            let read = Exported::read(&self.line).map_err(|broken| {
                let Self { name, next: Offset(number), line, .. } = self;
                let hint = match broken.is_cut {
                    true if line.trim_ascii().is_empty() => "; it is empty",
                    true => "; it is cut off: the export did not come to its end",
                    false => "",
                };
                format!("{name}, line {number}, {broken}{hint}")
            });
            letters.push(read?);
        }
        Ok(letters)
    }

    fn check(&self, seen: Seen) -> Result<(), Failure> {
        if seen == self.expected {
            return Ok(());
        }
        Err(format!("{} was changed while it was read: start again", self.name).into())
    }

    /// Whether there was one more.
    async fn read_line(&mut self) -> Result<bool, Failure> {
        self.line.clear();
        let most = u64::try_from(self.most).unwrap_or(u64::MAX);
        let mut limited = (&mut self.reader).take(most.saturating_add(1));
        let read = limited.read_until(b'\n', &mut self.line).await.map_err(|error| self.name.unreadable(&error))?;
        self.next = if read > 0 { self.next.next() } else { self.next };
        if read > self.most {
            let (name, Offset(line), most) = (&self.name, self.next, self.most);
            return Err(format!(
                "{name}, line {line}: it has more than {most} bytes, more than a record of kafka.max_frame_bytes can make"
            )
            .into());
        }
        Ok(read > 0)
    }
}

#[derive(Debug, Clone)]
struct Name(PathBuf);

impl Name {
    async fn open(&self) -> Result<(File, Seen), Failure> {
        let opened = async {
            let file = File::open(&self.0).await?;
            let seen = Seen::of(&file).await?;
            Ok((file, seen))
        };
        opened.await.map_err(|error| self.unreadable(&error))
    }

    fn unreadable(&self, error: &io::Error) -> Failure {
        format!("can't read {self}: {error}").into()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

/// What shows that a file was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    bytes: u64,
    modified: SystemTime,
}

impl Seen {
    async fn of(file: &File) -> io::Result<Self> {
        let found = file.metadata().await?;
        Ok(Self { bytes: found.len(), modified: found.modified()? })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::dead_letter::export;
    use crate::record::{Headers, RecordView};

    fn line(offset: i64) -> String {
        let mut line = Vec::new();
        let value = Some(&b"v"[..]);
        let headers = Headers::NONE;
        let record = RecordView { offset: Offset(offset), timestamp_ms: 5, key: None, value, headers };
        export(&mut line, "dead", 0, &record).unwrap();
        String::from_utf8(line).unwrap()
    }

    async fn offsets(file: &ExportFile, begin: i64, most_bytes: usize) -> Result<Vec<i64>, String> {
        let told = |error: Failure| error.to_string();
        let mut lines = file.lines_from(Offset(begin), most_bytes).await.map_err(told)?;
        let mut found = Vec::new();
        loop {
            let letters = lines.read(2).await.map_err(told)?;
            if letters.is_empty() {
                assert_eq!(lines.next, file.lines);
                return Ok(found);
            }
            assert!(letters.len() <= 2);
            found.extend(letters.into_iter().map(|letter| letter.offset.0));
        }
    }

    #[tokio::test]
    async fn lines_are_read_from_any_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dead.ndjson");
        let text: String = (10..15).map(line).collect();
        for text in [text.as_str(), text.trim_end()] {
            fs::write(&path, text).unwrap();
            let file = ExportFile::open(&path).await.unwrap();
            assert_eq!(file.lines, Offset(5));
            assert_eq!(offsets(&file, 0, 1_000).await.unwrap(), [10, 11, 12, 13, 14]);
            assert_eq!(offsets(&file, 3, 1_000).await.unwrap(), [13, 14]);
            assert!(offsets(&file, 5, 1_000).await.unwrap().is_empty());
        }
    }

    #[tokio::test]
    async fn what_can_not_be_read_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dead.ndjson");
        let opened = async |text: &str| {
            fs::write(&path, text).unwrap();
            ExportFile::open(&path).await
        };
        assert!(opened("").await.unwrap_err().to_string().ends_with("is empty: no dead letter was exported to it"));
        let half = format!("{}{}", line(1), line(2).split_at(20).0);
        let error = offsets(&opened(&half).await.unwrap(), 0, 1_000).await.unwrap_err();
        assert!(error.contains("dead.ndjson, line 2, column 20: ") && error.contains("cut off"), "{error}");
        let broken = format!("{}CANARY\n{}", line(1), line(3));
        let error = offsets(&opened(&broken).await.unwrap(), 0, 1_000).await.unwrap_err();
        assert!(error.ends_with("dead.ndjson, line 2, column 1: expected value"), "{error}");
        let error = offsets(&opened(&line(1)).await.unwrap(), 0, 50).await.unwrap_err();
        assert!(error.contains("line 1: it has more than 50 bytes"), "{error}");
        let error = ExportFile::open(folder.path()).await.unwrap_err();
        assert!(error.to_string().contains("is no file"), "{error}");
        let error = ExportFile::open(&folder.path().join("x")).await.unwrap_err();
        assert!(error.to_string().starts_with("can't read"), "{error}");
    }

    #[tokio::test]
    async fn a_file_that_is_changed_is_not_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dead.ndjson");
        fs::write(&path, line(1)).unwrap();
        let file = ExportFile::open(&path).await.unwrap();
        let mut lines = file.lines_from(Offset(0), 1_000).await.unwrap();
        fs::write(&path, line(1) + &line(2)).unwrap();
        assert!(lines.read(2).await.unwrap_err().to_string().contains("was changed"));
        assert!(file.lines_from(Offset(0), 1_000).await.unwrap_err().to_string().contains("was changed"));
        assert_ne!(ExportFile::open(&path).await.unwrap().sha256, file.sha256);
    }
}
