//! Responses of each API in each version: what the check by its fields lets through, kafka-protocol's decoder decodes, and
//! takes no more memory for it than there are bytes to pay for.
//!
//! An input: the API's key, the version, and the response from its header on.

use kafka_client::testing::{NotWritten, TESTED, Tested};

use super::{MIB, Target};

/// See the module.
pub const TARGET: Target = Target {
    name: "responses",
    about: "responses of each API in each version",
    run,
    seeds,
    words: &["\u{1}\0", "\0\0\0\u{1}", "\0\0\0\u{2}", "\0\u{1}a", "\u{2}a", "\0\u{1}"],
    longest: 4 * 1024,
    memory: 16 * MIB,
};

/// Why a response is refused: by the check, or by the decoder for what the check leaves to it: a null where none may be,
/// and text that is not UTF-8.
const REFUSALS: [&str; 3] = ["does not hold what it claims", "length is negative", "utf-8"];

fn run(input: &[u8]) {
    let [key, version, response @ ..] = input else { return };
    let (key, version) = (i16::from(*key), i16::from(*version));
    let Some(tested) = TESTED.iter().find(|tested| tested.key() == key) else { return };
    if !tested.versions().contains(&version) {
        return;
    }
    if let Err(error) = tested.again(response.to_vec().into(), version) {
        // What the codec would not write, it has read.
        let refused = error.to_string();
        let is_known = error.is::<NotWritten>() || REFUSALS.iter().any(|known| refused.contains(known));
        assert!(is_known, "{} {version}: the check takes it, and the decoder says: {error:#}", tested.name());
    }
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let each = |tested: &'static Tested| tested.versions().into_iter().map(move |version| (tested, version));
    let seed = |(tested, version): (&Tested, i16)| {
        let numbers = [tested.key(), version].map(|number| u8::try_from(number).expect("keys and versions are small"));
        (format!("seed-{}-{version}", tested.name()), [&numbers[..], &tested.filled(version)].concat())
    };
    TESTED.iter().flat_map(each).map(seed).collect()
}
