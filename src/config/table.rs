//! How a key is declared: one row of a [`section!`](crate::section), from which its field, its documentation, its flag,
//! its variable and its place in the chart's schema come.
//!
//! ```
//! use login_pipeline::config::ByteSize;
//! use login_pipeline::config::table::{Section, nested, size, text, whole};
//!
//! login_pipeline::section! {
//!     /// `cache.*`
//!     pub struct Cache: "cache." {
//!         /// The most bytes that it holds
//!         most_bytes: ByteSize = size(ByteSize::kib(1)..=ByteSize::mib(64)).by_default("4MiB");
//!         /// How many threads fill it
//!         threads: Option<u16> = whole(1..=64).unset("one a core");
//!     }
//! }
//!
//! let mut keys = Vec::new();
//! Cache::keys(&mut keys);
//! let told: Vec<_> = keys.iter().map(|key| (key.path, key.doc)).collect();
//! assert_eq!(told, [("cache.most_bytes", "The most bytes that it holds"), ("cache.threads", "How many threads fill it")]);
//! ```
//!
//! What a key is read as and the type of its field are one: a number of bytes is no text,
//!
//! ```compile_fail
//! use login_pipeline::config::ByteSize;
//! use login_pipeline::config::table::{Section, nested, size, text, whole};
//!
//! login_pipeline::section! {
//!     /// `cache.*`
//!     pub struct Cache: "cache." {
//!         /// The most bytes that it holds
//!         most_bytes: ByteSize = text().by_default("4MiB");
//!         /// How many threads fill it
//!         threads: Option<u16> = whole(1..=64).unset("one a core");
//!     }
//! }
//! ```
//!
//! what may be unset is an `Option`,
//!
//! ```compile_fail
//! use login_pipeline::config::ByteSize;
//! use login_pipeline::config::table::{Section, nested, size, text, whole};
//!
//! login_pipeline::section! {
//!     /// `cache.*`
//!     pub struct Cache: "cache." {
//!         /// The most bytes that it holds
//!         most_bytes: ByteSize = size(ByteSize::kib(1)..=ByteSize::mib(64)).by_default("4MiB");
//!         /// How many threads fill it
//!         threads: u16 = whole(1..=64).unset("one a core");
//!     }
//! }
//! ```
//!
//! and what is allowed fits into the field.
//!
//! ```compile_fail
//! use login_pipeline::config::ByteSize;
//! use login_pipeline::config::table::{Section, nested, size, text, whole};
//!
//! login_pipeline::section! {
//!     /// `cache.*`
//!     pub struct Cache: "cache." {
//!         /// The most bytes that it holds
//!         most_bytes: ByteSize = size(ByteSize::kib(1)..=ByteSize::mib(64)).by_default("4MiB");
//!         /// How many threads fill it
//!         threads: Option<u16> = whole(1..=100_000).unset("one a core");
//!     }
//! }
//! ```

use std::collections::BTreeMap;

use serde_json::Value;

use super::key::Default;
pub use super::key::Key;
pub use super::keyword::Keyword;
pub use super::kinds::{
    Of, StandIn, address, boolean, brokers, duration, extensions, keyword, keywords, log_filter, new_field, partitions,
    path, ratio, secret, size, text, topic, url, whole,
};
use super::problem::Problems;
pub use super::values::Values;

/// The values of a configuration as JSON has them, by the paths of their keys.
pub type Written = BTreeMap<&'static str, Value>;

/// Whether a value could be written as JSON; those that were read can.
pub type WriteResult = serde_json::Result<()>;

/// A struct of the configuration: the keys that its fields stand for.
pub trait Section: Sized {
    /// Adds its keys, in the order of its fields.
    fn keys(keys: &mut Vec<Key>);

    /// Reads its fields; those whose keys are problems hold anything.
    fn read(values: &Values, problems: &mut Problems) -> Self;

    /// Adds the values of its fields.
    ///
    /// # Errors
    /// If one can't be written as JSON.
    fn write(&self, written: &mut Written) -> WriteResult;
}

/// What a row of a section says of its field, which is of type `T`: a key, or a section of its own.
#[diagnostic::on_unimplemented(
    message = "a key of this kind is not read as `{T}`",
    label = "not of the field's type",
    note = "a key that may be `unset` is an `Option`"
)]
pub trait Row<T> {
    /// Adds the keys behind the field.
    fn keys(self, at: At, keys: &mut Vec<Key>);
    /// Reads the field.
    fn read(self, at: At, values: &Values, problems: &mut Problems) -> T;
    /// Adds what the field holds.
    ///
    /// # Errors
    /// If it can't be written as JSON.
    fn write(self, at: At, value: &T, written: &mut Written) -> WriteResult;
}

/// The place of a row.
#[derive(Debug, Clone, Copy)]
pub struct At {
    /// The key's path, if it is one.
    pub path: &'static str,
    /// The field's documentation.
    pub doc: &'static str,
}

/// A key whose values are read as `T`, and whose field is a `Field`: `T`, or `Option<T>`.
#[derive(Debug)]
pub struct Entry<T, Field = T> {
    of: Of<T>,
    default: Default,
    set: fn(T) -> Field,
    unset: fn(&Values) -> Field,
    value: fn(&Field) -> Option<&T>,
}

impl<T> Of<T> {
    /// A key that has this value where nobody sets it.
    pub fn by_default(self, text: &'static str) -> Entry<T>
    where
        T: StandIn,
    {
        let default = Default::Text(text);
        Entry { of: self, default, set: |value| value, unset: |_| T::stand_in(), value: |value| Some(value) }
    }

    /// A key that has no value where nobody sets it, which means this.
    pub fn unset(self, meaning: &'static str) -> Entry<T, Option<T>> {
        Entry { of: self, default: Default::Unset(meaning), set: Some, unset: |_| None, value: Option::as_ref }
    }

    /// A key that is `otherwise` where nobody sets it, which depends on other keys.
    pub fn unset_is(self, meaning: &'static str, otherwise: fn(&Values) -> T) -> Entry<T> {
        let default = Default::Unset(meaning);
        Entry { of: self, default, set: |value| value, unset: otherwise, value: |value| Some(value) }
    }
}

impl<T, Field> Row<Field> for Entry<T, Field> {
    fn keys(self, at: At, keys: &mut Vec<Key>) {
        keys.push(Key { path: at.path, kind: self.of.kind, default: self.default, doc: at.doc.trim_start() });
    }

    fn read(self, at: At, values: &Values, _problems: &mut Problems) -> Field {
        let value = values.setting(at.path).and_then(self.of.read);
        value.map_or_else(|| (self.unset)(values), self.set)
    }

    fn write(self, at: At, value: &Field, written: &mut Written) -> WriteResult {
        let value = (self.value)(value).map(self.of.write).transpose()?;
        written.insert(at.path, value.unwrap_or_default());
        Ok(())
    }
}

/// A field that is a section of its own.
pub fn nested() -> Nested {
    Nested
}

/// A section within another.
#[derive(Debug, Clone, Copy)]
pub struct Nested;

impl<T: Section> Row<T> for Nested {
    fn keys(self, _at: At, keys: &mut Vec<Key>) {
        T::keys(keys);
    }

    fn read(self, _at: At, values: &Values, problems: &mut Problems) -> T {
        T::read(values, problems)
    }

    fn write(self, _at: At, value: &T, written: &mut Written) -> WriteResult {
        value.write(written)
    }
}

/// Declares structs of the configuration with their keys; see [`table`](crate::config::table).
///
/// A row is `field: Type = kind.by_default("...");`, `field: Type = kind.unset("...");` with what that means, or
/// `field: Type = nested();` for a section within. Its documentation is the key's wherever that is shown. A field that is
/// not called like its key says so: `field as key: Type`.
#[macro_export]
macro_rules! section {
    ($(
        $(#[$attribute:meta])*
        $visible:vis struct $section:ident: $prefix:literal {
            $($(#[doc = $doc:literal])+ $field:ident $(as $key:ident)?: $type:ty = $row:expr;)+
        }
    )+) => {$(
        $(#[$attribute])*
        #[derive(Debug, Clone, PartialEq)]
        $visible struct $section {
            $($(#[doc = $doc])+ pub $field: $type,)+
        }

        impl $crate::config::table::Section for $section {
            fn keys(keys: &mut Vec<$crate::config::table::Key>) {
                $(
                    let at = $crate::section!(@at $prefix, concat!($($doc),+), $field $($key)?);
                    $crate::config::table::Row::<$type>::keys($row, at, keys);
                )+
            }

            fn read(
                values: &$crate::config::table::Values,
                problems: &mut $crate::config::Problems,
            ) -> Self {
                Self {$(
                    $field: $crate::config::table::Row::<$type>::read(
                        $row,
                        $crate::section!(@at $prefix, concat!($($doc),+), $field $($key)?),
                        values,
                        problems,
                    ),
                )+}
            }

            fn write(&self, written: &mut $crate::config::table::Written) -> $crate::config::table::WriteResult {
                $(
                    let at = $crate::section!(@at $prefix, concat!($($doc),+), $field $($key)?);
                    $crate::config::table::Row::<$type>::write($row, at, &self.$field, written)?;
                )+
                Ok(())
            }
        }
    )+};
    (@at $prefix:literal, $doc:expr, $field:ident) => {
        $crate::config::table::At { path: concat!($prefix, stringify!($field)), doc: $doc }
    };
    (@at $prefix:literal, $doc:expr, $field:ident $key:ident) => {
        $crate::section!(@at $prefix, $doc, $key)
    };
}
