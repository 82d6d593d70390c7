//! A campaign by the stable engine: a target's corpus, then mutations of it. What fails, or does not end, is written to a
//! file before it is told.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fastrand::Rng;

use crate::Target;
use crate::mutate::mutated;

/// An input that takes longer has no end.
const LONGEST: Duration = Duration::from_secs(30);

/// The folder of this package.
const PACKAGE: &str = env!("CARGO_MANIFEST_DIR");

/// How long a campaign lasts: until either is reached, and the corpus is through in any case.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The time, from its beginning.
    pub time: Duration,
    /// The number of mutations.
    pub runs: u64,
}

/// What a campaign has run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ran {
    /// Inputs of the corpus.
    pub corpus: usize,
    /// Mutations.
    pub mutations: u64,
}

/// The seed of today: the same all day, on every machine.
pub fn seed_of_today() -> u64 {
    const A_DAY: u64 = 24 * 3_600;
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / A_DAY)
}

/// The folder of a target's seeds.
pub fn corpus_folder(target: &Target) -> PathBuf {
    Path::new(PACKAGE).join("corpus").join(target.name)
}

/// The file of what libFuzzer has found for a target, and was kept: hundreds of inputs, each behind its length.
fn found_file(target: &Target) -> PathBuf {
    corpus_folder(target).with_extension("found")
}

/// The inputs of a target's corpus: its seeds by the names of their files, and what was found.
///
/// # Panics
/// Where they can't be read.
pub fn corpus(target: &Target) -> Vec<(String, Vec<u8>)> {
    let mut inputs = files(&corpus_folder(target));
    inputs.extend((1..).map(|number| format!("found-{number}")).zip(unpacked(target)));
    inputs
}

/// The files of a folder, in the order of their names.
///
/// # Panics
/// Where they can't be read.
pub fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let listed = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut found: Vec<_> = listed
        .map(|entry| {
            let entry = entry?;
            Ok((entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?))
        })
        .collect::<io::Result<_>>()
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    found.sort();
    found
}

/// What was found for a target, and kept.
///
/// # Panics
/// Where the file is not as [`pack`] writes it.
pub fn unpacked(target: &Target) -> Vec<Vec<u8>> {
    let path = found_file(target);
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        bytes => bytes.unwrap_or_else(|error| panic!("{}: {error}", path.display())),
    };
    let (mut rest, mut inputs) = (&bytes[..], Vec::new());
    while let Some((length, behind)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes(*length));
        let input;
        (input, rest) = behind.split_at_checked(length).unwrap_or_else(|| panic!("{}: cut off", path.display()));
        inputs.push(input.to_vec());
    }
    inputs
}

/// Keeps these inputs for a target, in place of those that it has; seeds, and what is too long, are left out.
///
/// # Panics
/// Where the file can't be written.
pub fn pack(target: &Target, inputs: &[Vec<u8>]) {
    let seeds = files(&corpus_folder(target));
    let mut packed = Vec::new();
    for input in inputs.iter().filter(|input| seeds.iter().all(|(_, seed)| seed != *input)) {
        if let Ok(length) = u16::try_from(input.len()) {
            packed.extend(length.to_be_bytes());
            packed.extend(input);
        }
    }
    let path = found_file(target);
    fs::write(&path, packed).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Runs a campaign.
///
/// # Errors
/// What failed first: in which file the input is, and what was wrong.
///
/// # Panics
/// Where files can't be read or written.
pub fn run(target: &'static Target, seed: u64, limits: Limits) -> Result<Ran, String> {
    let began = Instant::now();
    let watch = Watch::over(target);
    let named = corpus(target);
    for (name, input) in &named {
        one(target, input, &watch).map_err(|why| format!("{} ({name}): {why}", kept(target, input).display()))?;
    }
    let inputs: Vec<Vec<u8>> = named.into_iter().map(|(_, input)| input).collect();
    let mut ran = Ran { corpus: inputs.len(), mutations: 0 };
    let mut random = Rng::with_seed(seed);
    while ran.mutations < limits.runs && began.elapsed() < limits.time && !inputs.is_empty() {
        let input = mutated(&mut random, &inputs, target.words, target.longest);
        one(target, &input, &watch)
            .map_err(|why| format!("{} (seed {seed}): {why}", kept(target, &input).display()))?;
        ran.mutations += 1;
    }
    Ok(ran)
}

/// Runs the input that a file holds.
///
/// # Errors
/// What was wrong.
///
/// # Panics
/// Where the file can't be read.
pub fn run_file(target: &'static Target, path: &Path) -> Result<(), String> {
    let input = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    one(target, &input, &Watch::over(target))
}

fn one(target: &'static Target, input: &[u8], watch: &Watch) -> Result<(), String> {
    watch.begin(input);
    let ran = catch_unwind(AssertUnwindSafe(|| crate::run(target, input)));
    watch.end();
    ran.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        text.unwrap_or("a panic without a text").to_owned()
    })
}

/// Writes an input that failed to a file, and names it.
fn kept(target: &Target, input: &[u8]) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    let folder = Path::new(PACKAGE).join("artifacts").join(target.name);
    let path = folder.join(format!("failed-{:016x}", hasher.finish()));
    let written = fs::create_dir_all(&folder).and_then(|()| fs::write(&path, input));
    written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    path
}

/// A look at the input that runs, from a thread of its own: one that does not end is written to a file, and the process
/// ends.
struct Watch(Arc<Mutex<Option<Running>>>);

/// The input that runs, and since when.
type Running = (Instant, Vec<u8>);

impl Watch {
    fn over(target: &'static Target) -> Self {
        let watch = Self(Arc::default());
        let running = Arc::downgrade(&watch.0);
        thread::spawn(move || {
            while let Some(running) = running.upgrade() {
                let input = lock(&running)
                    .as_ref()
                    .filter(|(since, _)| since.elapsed() > LONGEST)
                    .map(|(_, input)| input.clone());
                if let Some(input) = input {
                    let path = kept(target, &input);
                    eprintln!("{}: no end within {LONGEST:?}", path.display());
                    std::process::abort();
                }
                drop(running);
                thread::park_timeout(Duration::from_millis(500));
            }
        });
        watch
    }

    fn begin(&self, input: &[u8]) {
        *lock(&self.0) = Some((Instant::now(), input.to_vec()));
    }

    fn end(&self) {
        *lock(&self.0) = None;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
