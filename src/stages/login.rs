//! The login event as a [`Processor`].

use std::borrow::Cow;

use super::{Enriched, Now, Processor};
use crate::event::{Enrichment, LoginEvent, Reason, Rejection};
use crate::observe::{Dimensions, Tally};
use crate::record::RecordView;

/// Validates login events and adds `processed_at` and `latency_ms`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Login;

impl Processor for Login {
    type Event<'a> = LoginEvent<'a>;

    const DIMENSIONS: Dimensions = &["device_type", "app_version", "locale"];

    fn validate<'a>(&self, record: &RecordView<'a>) -> Result<LoginEvent<'a>, Rejection> {
        match record.value {
            Some(value) => LoginEvent::parse(value),
            None => Err(Rejection::record(Reason::Tombstone, "the value is null")),
        }
    }

    fn enrich(&self, event: &LoginEvent<'_>, now: &Now, out: &mut Vec<u8>) -> Enriched {
        let latency_ms = now.unix_ms.saturating_sub(event.timestamp_ms);
        event.write_enriched(&Enrichment { processed_at: &now.rfc3339_json, latency_ms: latency_ms.max(0) }, out);
        Enriched { clock_skewed: latency_ms < 0 }
    }

    fn field<'e>(&self, event: &'e LoginEvent<'_>, name: &str) -> Option<Cow<'e, str>> {
        match name {
            "device_type" => Some(event.device_type.to_str()),
            name => event.field(name),
        }
    }

    fn count(&self, event: &LoginEvent<'_>, tally: &mut Tally) {
        let values = [&event.device_type, &event.app_version, &event.locale];
        for (dimension, value) in values.into_iter().enumerate() {
            tally.count(dimension, value);
        }
    }
}
