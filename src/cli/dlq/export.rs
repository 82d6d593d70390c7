//! `dlq export`: dead letters with each of their bytes, one a line.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tempfile::NamedTempFile;

use super::list::note_revealed;
use super::reader::{Log, Reader};
use super::{Context, ExportDlq, Failure};
use crate::cli::UsageError;
use crate::dead_letter::{ErrorHeaders, export};

pub(super) async fn run(args: &ExportDlq, context: &Context, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    note_revealed();
    let counted = match &args.output {
        None => {
            keep_private();
            write(args, context, out, "standard output").await?
        }
        Some(path) => {
            let mut target = Target::new(path, args.overwrite)?;
            let counted = write(args, context, target.file.as_file_mut(), &path.display().to_string()).await?;
            target.keep()?;
            counted
        }
    };
    tell!("login-pipeline: {} dead letters of {} are exported", counted.exported, context.topic());
    if counted.damaged > 0 {
        tell!("login-pipeline: {} can't be decoded, and are not in the export", counted.damaged);
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Default)]
struct Counted {
    exported: u64,
    damaged: u64,
}

async fn write(args: &ExportDlq, context: &Context, out: &mut dyn Write, name: &str) -> Result<Counted, Failure> {
    let unwritable = |error: std::io::Error| format!("can't write {name}: {error}");
    let mut out = BufWriter::with_capacity(1 << 16, out);
    let log = Log::ask(context, &args.filter.partition).await?;
    let mut counted = Counted::default();
    for (partition, stretch) in log.stretches {
        let mut reader = Reader::new(context, log.topic_id, partition, stretch);
        while let Some(batch) = reader.next().await? {
            for entry in reader.entries(&batch) {
                if entry.flaw.is_some() {
                    counted.damaged += 1;
                } else if args.filter.takes(&entry.record, &ErrorHeaders::of(&entry.record, context.prefix())) {
                    export(&mut out, context.topic(), partition, &entry.record).map_err(unwritable)?;
                    counted.exported += 1;
                }
            }
        }
    }
    out.flush().map_err(unwritable)?;
    Ok(counted)
}

/// Others of the machine are kept from a file that standard output was redirected to, which has the umask's mode:
/// dead letters are people's data. What stood there before was meant for whom it was, and is left alone.
fn keep_private() {
    let Ok(file) = io::stdout().as_fd().try_clone_to_owned().map(fs::File::from) else { return };
    let Ok(found) = file.metadata() else { return };
    let mode = found.permissions().mode() & 0o777;
    if !found.is_file() || mode & 0o077 == 0 {
        return;
    }
    if found.len() == 0 && file.set_permissions(fs::Permissions::from_mode(mode & 0o700)).is_ok() {
        tell!("login-pipeline: standard output is a file that others could read: its mode is {:04o} now", mode & 0o700);
    } else {
        tell!(
            "login-pipeline: standard output is a file that others may read (mode {mode:04o}): chmod it, or use --output"
        );
    }
}

/// A file that has its name once it is whole. Dropped before that, it is deleted.
struct Target {
    path: PathBuf,
    file: NamedTempFile,
    overwrite: bool,
}

impl Target {
    fn new(path: &Path, overwrite: bool) -> Result<Self, Failure> {
        let name = path.display();
        if path.is_dir() || path.file_name().is_none() {
            return Err(UsageError(format!("{name} is a folder: --output names a file")).into());
        }
        if !overwrite && path.symlink_metadata().is_ok() {
            return Err(UsageError(there(path)).into());
        }
        let mut builder = tempfile::Builder::new();
        let private = fs::Permissions::from_mode(0o600);
        let file = builder.prefix(".dlq-export-").permissions(private).tempfile_in(folder_of(path));
        let file = file.map_err(|error| format!("can't write {name}: {error}"))?;
        Ok(Self { path: path.to_owned(), file, overwrite })
    }

    fn keep(self) -> Result<(), Failure> {
        let Self { path, file, overwrite } = self;
        let unwritable = |error: std::io::Error| format!("can't write {}: {error}", path.display());
        file.as_file().sync_all().map_err(unwritable)?;
        let kept = if overwrite { file.persist(&path) } else { file.persist_noclobber(&path) };
        kept.map_err(|error| match error.error.kind() {
            std::io::ErrorKind::AlreadyExists => there(&path),
            _ => unwritable(error.error),
        })?;
        // The name, too, is on the disk now.
        fs::File::open(folder_of(&path)).and_then(|folder| folder.sync_all()).map_err(unwritable)?;
        Ok(())
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn there(path: &Path) -> String {
    format!("{} is there already: --overwrite replaces it", path.display())
}
