//! Databases of countries, which operators download: whatever a file holds, a look-up ends and tells a country, none, or that
//! the file is damaged. The library may panic: that is caught.
//!
//! An input: the file. Addresses are asked for that lead to everywhere in the small database of the tests.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::panic;
use std::sync::Once;

use login_pipeline::geoip::Database;

use super::{MIB, Target};

/// See the module.
pub const TARGET: Target = Target {
    name: "geoip",
    about: "MaxMind DB files",
    run,
    seeds,
    words: &["\u{ab}\u{cd}\u{ef}MaxMind.com", "Gcountry", "Hiso_code", "Jnode_count", "Krecord_size", "Jip_version", "BGB"],
    longest: 16 * 1024,
    memory: 16 * MIB,
};

fn run(file: &[u8]) {
    quiet();
    let Ok(database) = Database::parse(file.to_vec()) else { return };
    let _ = database.about().to_string();
    let v4 = [[81, 2, 69, 1], [199, 172, 111, 135], [10, 0, 0, 1], [203, 0, 113, 7], [0, 0, 0, 0], [255; 4]].map(|octets| IpAddr::V4(Ipv4Addr::from(octets)));
    let v6 = [0x2001_0480 << 96, 0x2a02_d9c0 << 96, 0, u128::MAX, 1 << 127].map(|bits: u128| IpAddr::V6(Ipv6Addr::from(bits)));
    for address in v4.into_iter().chain(v6) {
        if let Ok(Some(country)) = database.country(address) {
            assert!(country.code().iter().all(u8::is_ascii_uppercase), "{country:?}");
        }
    }
}

/// Panics that are caught are neither told nor, under libFuzzer, the end.
fn quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if panic.location().is_none_or(|location| !location.file().contains("maxminddb")) {
                usual(panic);
            }
        }));
    });
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    vec![("seed-countries".to_owned(), include_bytes!("../../../tests/data/countries.mmdb").to_vec())]
}
