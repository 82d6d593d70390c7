//! The fit of a dead letter, which is changed so that its topic takes it: nothing, until the topic has refused it.

use crate::record::RecordView;

/// The difference of a dead letter from the record that it was. By default there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fit {
    /// The most bytes of the value; the rest is cut off.
    pub value: Option<usize>,
    /// The most bytes of the key.
    pub key: Option<usize>,
    /// The most bytes of the record's own headers; those that find no room are left out, whole.
    pub headers: Option<usize>,
    /// In place of a null key stands the record's place, since a compacted topic takes no record without a key.
    pub keyed: bool,
    /// It bears no time ([`NO_TIMESTAMP`](crate::record::NO_TIMESTAMP)), since its topic finds the time of now wrong.
    pub undated: bool,
}

impl Fit {
    /// One that is smaller: the largest of value, key and own headers is halved. `None` where nothing of
    /// the record is left.
    pub(super) fn smaller(self, record: &RecordView<'_>, prefix: &str) -> Option<Self> {
        let left =
            |field: Option<&[u8]>, most: Option<usize>| field.map_or(0, <[u8]>::len).min(most.unwrap_or(usize::MAX));
        let value = left(record.value, self.value);
        let key = left(record.key, self.key);
        let headers = self.headers_of(record, prefix).map(size).sum();
        let largest = value.max(key).max(headers);
        match largest {
            0 => None,
            _ if largest == value => Some(Self { value: Some(largest / 2), ..self }),
            _ if largest == headers => Some(Self { headers: Some(largest / 2), ..self }),
            _ => Some(Self { key: Some(largest / 2), ..self }),
        }
    }

    /// The record's own headers, as far as they fit.
    pub(super) fn headers_of<'a>(
        self,
        record: &RecordView<'a>,
        prefix: &'a str,
    ) -> impl Iterator<Item = Named<'a>> + Clone + use<'a> {
        let mut room = self.headers.unwrap_or(usize::MAX);
        own(record, prefix).filter(move |header| match room.checked_sub(size(*header)) {
            Some(left) => {
                room = left;
                true
            }
            None => false,
        })
    }
}

/// A header: its name and its value.
pub(super) type Named<'a> = (&'a [u8], Option<&'a [u8]>);

/// The record's own headers: a dead letter's, of a round before, are replaced.
pub(super) fn own<'a>(record: &RecordView<'a>, prefix: &'a str) -> impl Iterator<Item = Named<'a>> + Clone + use<'a> {
    record.headers.iter().filter(move |(name, _)| !name.starts_with(prefix.as_bytes()))
}

/// About the bytes of a header, its two lengths included: many that are empty take room, too.
fn size((name, value): Named<'_>) -> usize {
    2 + name.len() + value.map_or(0, <[u8]>::len)
}

/// The beginning of a field, and how long it was where that is not all of it.
pub(super) fn cut(field: Option<&[u8]>, most: Option<usize>) -> (Option<&[u8]>, Option<usize>) {
    match (field, most) {
        (Some(whole), Some(most)) if most < whole.len() => (whole.get(..most), Some(whole.len())),
        _ => (field, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Header, Headers, Offset};

    fn record<'a>(key: &'a [u8], value: &'a [u8], headers: &'a [Header]) -> RecordView<'a> {
        let (key, value, headers) = (Some(key), Some(value), Headers::List(headers));
        RecordView { offset: Offset(0), timestamp_ms: 0, key, value, headers }
    }

    fn header(name: &'static str, bytes: usize) -> Header {
        Header { name: name.into(), value: Some(vec![7; bytes].into()) }
    }

    #[test]
    fn the_largest_part_is_halved_until_nothing_is_left() {
        let headers = [header("large", 500), header("small", 3), header("ours.x", 9_000)];
        let record = record(&[1; 100], &[2; 200], &headers);
        let first = Fit::default().smaller(&record, "ours.").unwrap();
        assert_eq!(first, Fit { headers: Some((507 + 10) / 2), ..Fit::default() });
        let kept: Vec<_> = first.headers_of(&record, "ours.").map(|(name, _)| name).collect();
        assert_eq!(kept, [b"small"], "the one that is too large is left out, not what stands behind it");
        let mut fit = Fit::default();
        for _ in 0..64 {
            let Some(smaller) = fit.smaller(&record, "ours.") else { break };
            fit = smaller;
        }
        assert_eq!(fit.smaller(&record, "ours."), None);
        assert_eq!((fit.value, fit.key), (Some(0), Some(0)));
        assert_eq!(fit.headers_of(&record, "ours.").count(), 0);
    }

    #[test]
    fn what_is_not_there_is_not_cut() {
        let none = RecordView { key: None, value: None, ..record(b"", b"", &[]) };
        assert_eq!(Fit::default().smaller(&none, "ours."), None);
        assert_eq!(cut(None, Some(0)), (None, None));
        assert_eq!(cut(Some(b"abc"), Some(3)), (Some(&b"abc"[..]), None));
        assert_eq!(cut(Some(b"abc"), Some(1)), (Some(&b"a"[..]), Some(3)));
    }
}
