//! A pseudonym needs a key, and a key something to make pseudonyms of.

use super::Config;
use super::parse::Setting;
use super::problem::Problems;
use super::rule_kinds::Rules;
use super::values::Values;

const KEY_FILE: &str = "privacy.key_file";
const FIELDS: [&str; 3] = ["privacy.ip", "privacy.user_id", "privacy.device_id"];

/// Notes what is wrong with the key; whether its file holds one only where it is read.
pub(super) fn check(config: &Config, values: &Values, is_left_unread: bool, problems: &mut Problems) {
    if !FIELDS.iter().all(|key| values.is_sound(key)) {
        return; // whether a key is needed is not known
    }
    let hashed = FIELDS.into_iter().find(|key| values.setting(key) == Some(&Setting::Word("hmac_sha256")));
    let mut rules = Rules { values, problems };
    match hashed {
        None => {
            let wrong = "only hmac_sha256 uses this";
            rules.unused(&[KEY_FILE], "privacy.user_id", wrong, "hmac_sha256 for one of privacy.*");
        }
        Some(hashed) if !values.is_given(KEY_FILE) => {
            rules.missing(KEY_FILE, &[hashed], "hmac_sha256 needs a key; openssl rand -hex 32 makes one");
        }
        Some(_) if is_left_unread => {}
        Some(_) => rules.file(&[KEY_FILE], config.privacy.key_file.as_ref().map(|_| config.privacy.key().map(drop))),
    }
}
