//! What a group's offset stands for: the filters, and where the letters went, of whoever stored it.
//!
//! Behind the offset lies also what those filters left out. Another run takes it for done, and would skip it for good:
//! so a fingerprint is kept beside each offset, and an offset of another scope is refused.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ring::digest::{SHA256, digest};

use super::args::{Again, Filter};
use super::filter::suffix_of;

/// The prefix of the fingerprint in the metadata of an offset.
pub(super) const SCOPE: &str = "of=";

/// Stands between that of the filters and that of the way; Base64 has none.
const BETWEEN: char = '.';

/// The filters and the way of a run, by their fingerprints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scope {
    filters: String,
    /// Of `--to` and `--allow-topic`; `None` for who only looks at how far others are.
    way: Option<String>,
}

impl Scope {
    /// The scope of a replay or a retry. A file is one partition to the group, so that there the chosen ones
    /// belong to it, too.
    pub(super) fn of(args: &Again, to: Option<&str>, is_file: bool) -> Self {
        let partitions = if is_file { args.filter.partition_suffix() } else { String::new() };
        let way = format!("{}{}", to.map_or_else(String::new, |to| format!(":to={to}")), allowed(args));
        Self { filters: of_filter(&args.filter, &partitions), way: Some(fingerprint(&way)) }
    }

    /// The scope of a question: what became of the topic's letters that a filter takes, wherever they went.
    pub(super) fn asked(filter: &Filter) -> Self {
        Self { filters: of_filter(filter, ""), way: None }
    }

    /// The word to be kept beside an offset; empty for who stores none.
    pub(super) fn word(&self) -> String {
        let Self { filters, way } = self;
        way.as_ref().map_or_else(String::new, |way| format!("{SCOPE}{filters}{BETWEEN}{way}"))
    }

    /// Whether an offset with this metadata stands for the letters that this scope has. One without a fingerprint was set
    /// by hand: whoever did that meant it.
    ///
    /// # Errors
    /// What it stands for instead.
    pub(super) fn check(&self, metadata: &str) -> Result<(), &'static str> {
        let Some(stored) = metadata.split(' ').find_map(|word| word.strip_prefix(SCOPE)) else { return Ok(()) };
        let (filters, way) = stored.split_once(BETWEEN).unwrap_or((stored, ""));
        match &self.way {
            Some(_) if filters != self.filters => Err("other filters than these"),
            Some(own) if way != own => Err("another --to or --allow-topic than this"),
            // Who took everything took these, too.
            None if filters != self.filters && filters != Self::asked(&Filter::default()).filters => {
                Err("other filters than these")
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// The part of a group's name that says which topics are allowed besides.
pub(super) fn allowed(args: &Again) -> String {
    suffix_of("allow", &args.allow_topic)
}

fn of_filter(filter: &Filter, partitions: &str) -> String {
    // The text may be personal data: its digest tells most texts apart in ten bits, which is too little to guess it by.
    let grep = filter.grep.as_deref().map_or_else(String::new, |text| {
        let digest = digest(&SHA256, text.as_bytes());
        let [first, second, ..] = digest.as_ref() else { return String::new() };
        format!(":grep={first},{}", second & 0b11)
    });
    fingerprint(&format!("{}{partitions}{grep}", filter.group_suffix()))
}

fn fingerprint(text: &str) -> String {
    let digest = digest(&SHA256, text.as_bytes());
    STANDARD_NO_PAD.encode(digest.as_ref().get(..8).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again(reason: &str, grep: Option<&str>, allowed: &[&str]) -> Again {
        let filter = Filter {
            reason: vec![reason.to_owned()],
            grep: grep.map(str::to_owned),
            partition: vec![1],
            ..Filter::default()
        };
        Again {
            from_file: None,
            allow_topic: allowed.iter().map(|topic| (*topic).to_owned()).collect(),
            dry_run: false,
            max: None,
            rate: None,
            group: Some("g".to_owned()),
            yes: true,
            filter,
        }
    }

    #[test]
    fn an_offset_stands_for_the_scope_that_stored_it() {
        let stored = Scope::of(&again("wrong_type", None, &[]), None, false);
        let note = format!("topic-id=x {} open=y", stored.word());
        let check = |scope: &Scope| scope.check(&note);
        assert_eq!(check(&stored), Ok(()));
        let more = Scope::of(&Again { max: Some(3), ..again("wrong_type", None, &[]) }, None, false);
        assert_eq!(check(&more), Ok(()), "how many are taken at a time is another matter");
        for (scope, why) in [
            (Scope::of(&again("missing_field", None, &[]), None, false), "other filters"),
            (Scope::of(&again("wrong_type", Some("x"), &[]), None, false), "other filters"),
            (Scope::of(&again("wrong_type", None, &[]), None, true), "other filters"),
            (Scope::of(&again("wrong_type", None, &[]), Some("other"), false), "another --to"),
            (Scope::of(&again("wrong_type", None, &["other"]), None, false), "another --to"),
            (Scope::asked(&Filter::default()), "other filters"),
        ] {
            let said = check(&scope).unwrap_err();
            assert!(said.starts_with(why), "{said}: {scope:?}");
        }
        assert_eq!(check(&Scope::asked(&again("wrong_type", None, &[]).filter)), Ok(()));
        assert_eq!(stored.check("topic-id=x"), Ok(()), "set by hand");
        let all = Scope::of(&Again { filter: Filter::default(), ..again("", None, &[]) }, Some("other"), false);
        assert_eq!(Scope::asked(&again("wrong_type", None, &[]).filter).check(&all.word()), Ok(()));
    }

    #[test]
    fn texts_are_told_apart_and_can_not_be_guessed() {
        let of = |text: &str| Scope::of(&again("wrong_type", Some(text), &[]), None, false).word();
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
        let alike = (0..10_000).filter(|n| of(&n.to_string()) == of("4711")).count();
        assert!((2..30).contains(&alike), "{alike}");
    }
}
