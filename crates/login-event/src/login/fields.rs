//! The event's members, found where they lie.

use std::borrow::Cow;

use crate::{Members, Opening, Reason, Rejection, SeenNames, Step, Value};

/// The members that the event knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    UserId,
    AppVersion,
    DeviceType,
    Ip,
    Locale,
    DeviceId,
    Timestamp,
    ProcessedAt,
    LatencyMs,
}

impl Field {
    const ALL: [Self; 9] = [
        Self::UserId,
        Self::AppVersion,
        Self::DeviceType,
        Self::Ip,
        Self::Locale,
        Self::DeviceId,
        Self::Timestamp,
        Self::ProcessedAt,
        Self::LatencyMs,
    ];

    /// The field that follows this one in most events. A wrong guess costs time only.
    #[inline(always)]
    pub(super) fn often_before(self) -> Self {
        match self {
            Self::UserId => Self::AppVersion,
            Self::AppVersion => Self::Ip,
            Self::Ip => Self::Locale,
            Self::Locale => Self::DeviceId,
            Self::DeviceId => Self::Timestamp,
            Self::Timestamp => Self::DeviceType,
            Self::DeviceType => Self::ProcessedAt,
            Self::ProcessedAt => Self::LatencyMs,
            Self::LatencyMs => Self::UserId,
        }
    }

    #[inline(always)]
    pub(super) fn of(name: &str) -> Option<Self> {
        // By length first: that alone tells most of them apart.
        Some(match name.len() {
            2 if name == "ip" => Self::Ip,
            6 if name == "locale" => Self::Locale,
            7 if name == "user_id" => Self::UserId,
            9 if name == "device_id" => Self::DeviceId,
            9 if name == "timestamp" => Self::Timestamp,
            10 if name == "latency_ms" => Self::LatencyMs,
            11 if name == "app_version" => Self::AppVersion,
            11 if name == "device_type" => Self::DeviceType,
            12 if name == "processed_at" => Self::ProcessedAt,
            _ => return None,
        })
    }

    #[inline(always)]
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::UserId => "user_id",
            Self::AppVersion => "app_version",
            Self::DeviceType => "device_type",
            Self::Ip => "ip",
            Self::Locale => "locale",
            Self::DeviceId => "device_id",
            Self::Timestamp => "timestamp",
            Self::ProcessedAt => "processed_at",
            Self::LatencyMs => "latency_ms",
        }
    }
}

/// The fields that the event has of its own, and those that the pipeline adds to it.
pub const OWN_FIELDS: [&str; Field::ALL.len()] = {
    let mut names = [""; Field::ALL.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = Field::ALL[at].name();
        at += 1;
    }
    names
};

/// The opening of each field where it is not the first, in the order of [`Field`].
pub(super) const OPENINGS: [Opening; Field::ALL.len()] = {
    let mut openings = [Opening::of(""); Field::ALL.len()];
    let mut at = 0;
    while at < openings.len() {
        openings[at] = Opening::of(Field::ALL[at].name());
        at += 1;
    }
    openings
};

/// The event's members, as they lie, in the order of [`Field`].
#[derive(Debug, Default)]
pub(super) struct Fields([Option<Value>; Field::ALL.len()]);

impl Fields {
    /// The value of a field, where it has one.
    #[inline(always)]
    pub(super) fn get(&self, field: Field) -> Option<Value> {
        self.0[field as usize]
    }

    /// Finds the fields and returns the place of the closing brace.
    ///
    /// A duplicate is told only when the whole text has proved to be JSON.
    pub(super) fn scan(&mut self, text: &str) -> Result<usize, Rejection> {
        let mut members = Members::of(text)?;
        let mut others: Option<SeenNames<'_>> = None;
        let mut duplicate = None;
        let mut expected = Field::UserId;
        loop {
            let (name, value) = match members.value_behind(&OPENINGS[expected as usize]) {
                Some(value) => (Ok(expected), value?),
                None => match members.step()? {
                    Step::End(close) => return duplicate.map_or(Ok(close), Err),
                    Step::Member(name, value) => (Field::of(&name).ok_or(name), value),
                },
            };
            let twice = match name {
                Ok(field) => {
                    expected = field.often_before();
                    self.0[field as usize].replace(value).is_some().then_some(Some(field.name()))
                }
                Err(other) => (!others.get_or_insert_default().insert(other)).then_some(None),
            };
            if let (Some(field), None) = (twice, &duplicate) {
                let message = Cow::Borrowed("a field occurs twice");
                duplicate = Some(Rejection { reason: Reason::DuplicateField, field, message });
            }
        }
    }
}
