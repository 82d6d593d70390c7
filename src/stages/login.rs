//! The login event as a [`Processor`].

use std::borrow::Cow;

use super::{Enriched, Now, Processor};
use crate::event::{Enrichment, LoginEvent, Rejection};
use crate::observe::{Dimensions, Tally};
use crate::record::RecordView;

/// Validates login events and adds `processed_at` and `latency_ms`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Login;

impl Processor for Login {
    type Event<'a> = LoginEvent<'a>;

    const NAME: &'static str = "login";

    const DIMENSIONS: Dimensions = &["device_type", "app_version", "locale"];

    fn validate<'a>(&self, record: &RecordView<'a>) -> Result<LoginEvent<'a>, Rejection> {
        LoginEvent::parse(record.value.ok_or(Rejection::NULL_VALUE)?)
    }

    fn enrich(&self, event: &LoginEvent<'_>, now: &Now, out: &mut Vec<u8>) -> Enriched {
        let (to_add, enriched) = enrichment(event, now);
        event.write_enriched(&to_add, out);
        enriched
    }

    fn field<'e>(&self, event: &'e LoginEvent<'_>, name: &str, now: &Now) -> Option<Cow<'e, str>> {
        match name {
            "device_type" => Some(event.device_type.to_str()),
            "processed_at" => Some(Cow::Owned(now.rfc3339().to_owned())),
            "latency_ms" => Some(Cow::Owned(enrichment(event, now).0.latency_ms.to_string())),
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

/// The fields that are added to an event at this time.
#[inline]
pub(super) fn enrichment<'n>(event: &LoginEvent<'_>, now: &'n Now) -> (Enrichment<'n>, Enriched) {
    let latency_ms = now.unix_ms.saturating_sub(event.timestamp_ms);
    let to_add = Enrichment { processed_at: &now.rfc3339_json, latency_ms: latency_ms.max(0) };
    (to_add, Enriched { clock_skewed: latency_ms < 0 })
}
