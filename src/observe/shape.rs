//! Which values of a counted field are shown: those that look like what the field is for.
//!
//! Senders choose the values, and careless ones put an address, a name or an id where a locale belongs. Such a value
//! would be a label in Prometheus and stand on the page for as long as it is among the frequent ones. It is counted
//! with the rare ones instead.

use std::net::IpAddr;

/// The longest value of a field that is not known here, in bytes: less than what is kept of one, so that none is cut.
const MOST_BYTES: usize = 48;

/// Whether a value of this field may be shown.
pub(super) fn is_shown(field: &str, value: &str) -> bool {
    let has_shape = match field {
        "device_type" => is_device_type(value),
        "app_version" => is_version(value),
        "locale" => is_locale(value),
        _ => is_name(value),
    };
    has_shape && !is_address(value)
}

/// A word such as `android` or `smart_tv`, in lower case, as events are written: no number, and no id.
fn is_device_type(value: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_- ".contains(&byte);
    (1..=24).contains(&value.len())
        && value.starts_with(|first: char| first.is_ascii_lowercase())
        && value.bytes().all(allowed)
        && value.bytes().filter(u8::is_ascii_digit).count() <= 4
}

/// Two to four numbers with dots between, as the event's rule has it. Fewer than four of ten digits and more are a
/// telephone number, as some write those.
fn is_version(value: &str) -> bool {
    let is_number = |part: &str| (1..=6).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts = value.split('.').count();
    (2..=4).contains(&parts) && value.split('.').all(is_number) && (parts == 4 || digits(value) < 10)
}

/// A language or a country, a script, a region: what of BCP 47 is in use for locales. What may follow can hold a name.
fn is_locale(value: &str) -> bool {
    let mut parts = value.split(['-', '_']).peekable();
    let letters = |part: &str| part.bytes().all(|byte| byte.is_ascii_alphabetic());
    let numbers = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let is_language = parts.next().is_some_and(|part| matches!(part.len(), 2..=3) && letters(part));
    let _script = parts.next_if(|part| part.len() == 4 && letters(part));
    let _region = parts.next_if(|part| part.len() == 2 && letters(part) || part.len() == 3 && numbers(part));
    is_language && parts.next().is_none()
}

/// Of an event type of somebody else's: a short text that is none of what gives a person away. Telephone numbers, those
/// of cards and of people, dates and most ids have more digits than a name.
fn is_name(value: &str) -> bool {
    let allowed = |c: char| c.is_alphanumeric() || "-_./:+ ".contains(c);
    let has_address = || value.split(|c: char| !(c.is_ascii_hexdigit() || ".:".contains(c))).any(is_address);
    (1..=MOST_BYTES).contains(&value.len())
        && value.chars().all(allowed)
        && digits(value) <= 6
        && !has_address()
        && !is_hardware_address(value)
        && uuid::Uuid::try_parse(value).is_err()
}

fn digits(value: &str) -> usize {
    value.chars().filter(|c| c.is_numeric()).count()
}

/// Whether this is an IP address, with a port behind it or not. Some write 10.0.0.7 as 010.000.000.007, which is none
/// to the library.
fn is_address(value: &str) -> bool {
    let is_byte = |part: &str| part.len() <= 3 && part.parse::<u8>().is_ok();
    let is_four_bytes = |value: &str| value.split('.').count() == 4 && value.split('.').all(is_byte);
    let host = value.split_once(':').map_or(value, |(host, _)| host);
    value.parse::<IpAddr>().is_ok() || is_four_bytes(host)
}

/// Whether this is a MAC address.
fn is_hardware_address(value: &str) -> bool {
    let is_byte = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let parts = || value.split([':', '-']);
    parts().count() == 6 && parts().all(is_byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What no field shows.
    const NEVER: [&str; 17] = [
        "",
        "ivan.petrov@mail.example",
        "199.172.111.135",
        "192.168.001.010",
        "10.0.0.7:80",
        "+49 151 23456789",
        "495.123.4567",
        "4f:d1:2e:aa:bb:cc",
        "2001:db8::7",
        "::1",
        "424cdd21-063a-43a7-b91b-7ca1a833afae",
        "a\nb",
        "\u{1b}[31mred",
        "\u{202e}left",
        "\0",
        "x\"} 7\nlogin_pipeline_ready 1",
        "(other)",
    ];

    fn shows(field: &str, yes: &[&str], no: &[&str]) {
        for value in yes {
            assert!(is_shown(field, value), "{field} {value:?}");
        }
        let long = "x".repeat(300);
        for value in no.iter().chain(&NEVER).chain([&long.as_str()]) {
            assert!(!is_shown(field, value), "{field} {value:?}");
        }
    }

    #[test]
    fn a_device_type_is_a_word() {
        let yes = ["android", "ios", "unknown", "web", "smart_tv", "iphone 14", "windows-11"];
        shows(
            "device_type",
            &yes,
            &["593-47-5928", "iOS", "+49 151 2345", "424cdd21063a43a7b91b7ca1", "12", "ünknown"],
        );
    }

    #[test]
    fn an_app_version_is_numbers() {
        let yes = ["2.3", "2.3.0", "120.0.6099.71", "2.3.0.999"];
        shows(
            "app_version",
            &yes,
            &[
                "2",
                "2.3.0-ivan",
                "2..3",
                "1.2.3.04",
                "4951.234567",
                "1.2.3.4.5",
                "1234567.0",
                "10.0.0.7",
                "593-47-5928",
            ],
        );
    }

    #[test]
    fn a_locale_is_a_language_or_a_place() {
        let yes = ["RU", "CA", "en", "en-US", "en_US", "zh-Hans-CN", "sr-Latn", "es-419", "fil-PH"];
        shows(
            "locale",
            &yes,
            &["ivan", "tom-smith", "de-1996", "en-US-x-ivan", "C", "en_US.UTF-8", "L29", "en-", "ру"],
        );
    }

    #[test]
    fn another_field_is_a_short_name() {
        let yes = ["/home", "checkout", "Zürich", "a b", "2.3.0-rc1", "日本", "404", "step 12/14", "ab:cd"];
        let telephones = ["089 1234567", "tel:0891234567", "8 (800) 555", "1234567", "٠١٢٣٤٥٦٧"];
        let others = [
            "me@example",
            "a\\b",
            "<b>",
            "a=b",
            "e\u{301}",
            "1980-05-12",
            "at 10.0.0.7",
            "from ::1",
            "aa-bb-cc-dd-ee-ff",
        ];
        shows("page", &yes, &[&telephones[..], &others].concat());
    }
}
