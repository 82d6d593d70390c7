//! The login event with the edits that a deployment asks for.

use std::borrow::Cow;
use std::sync::Arc;

use super::login::enrichment;
use super::{Enriched, Login, Now, Processor, StagesFactory};
use crate::config::{Config, Enrich, Privacy, ProcessorKind, Secret};
use crate::event::{EditOptions, EditPlan, Edits, Rejection};
use crate::geoip::{Countries, Country, Snapshot};
use crate::observe::{Dimensions, GeoIpMetrics, Tally};
use crate::record::RecordView;

/// Does what [`Login`] does, adds a country and fields of the deployment, and writes pseudonyms for personal data.
/// Clones are the same.
///
/// What it gives for a record depends on the database of countries, too, which may be replaced at any time: it is held
/// for a batch, so that a record is routed by the country that it is written with, also where it is staged again.
#[derive(Debug, Clone)]
pub struct EnrichedLogin {
    edits: Arc<Edits>,
    countries: Countries,
    held: Option<Snapshot>,
}

/// The edits that the configuration asks for; `None` where those are none. Pseudonyms need the
/// key that [`Privacy::key`] gives.
pub fn edits(enrich: &Enrich, privacy: &Privacy, key: Option<&Secret>) -> Option<Edits> {
    // A configuration's values are all such as JSON has.
    let json = |value| serde_json::to_vec(value).unwrap_or_else(|_| b"null".to_vec());
    Edits::new(&EditOptions {
        user_id: privacy.user_id,
        device_id: privacy.device_id,
        ip: privacy.ip,
        key: key.map(|key| key.expose().as_bytes()),
        country: enrich.geoip.file.is_some().then_some(&enrich.geoip.field),
        statics: enrich.statics.iter().map(|(name, value)| (name.as_str(), json(value))).collect(),
    })
}

/// Makes the stages of a configuration, and the countries that they look up, which know none yet.
pub fn configured(
    config: &Config,
    key: Option<&Secret>,
    metrics: GeoIpMetrics,
) -> (Arc<dyn StagesFactory>, Option<Countries>) {
    let ProcessorKind::Login = config.pipeline.processor;
    let Some(edits) = edits(&config.enrich, &config.privacy, key) else { return (Arc::new(Login), None) };
    let countries = Countries::new(metrics);
    let is_asked = edits.country_field().is_some();
    (Arc::new(EnrichedLogin::new(edits, countries.clone())), is_asked.then_some(countries))
}

impl EnrichedLogin {
    /// Makes these edits, with these countries where they ask for one.
    pub fn new(edits: Edits, countries: Countries) -> Self {
        Self { edits: Arc::new(edits), countries, held: None }
    }

    fn country(&self, plan: &EditPlan<'_>) -> Option<Country> {
        let address = plan.address().filter(|_| self.edits.country_field().is_some())?;
        match &self.held {
            Some(held) => held.country(address),
            None => self.countries.country(address),
        }
    }
}

impl Processor for EnrichedLogin {
    type Event<'a> = EditPlan<'a>;

    const NAME: &'static str = Login::NAME;

    const DIMENSIONS: Dimensions = Login::DIMENSIONS;

    fn hold(&mut self) {
        self.held = self.edits.country_field().map(|_| self.countries.snapshot());
    }

    fn release(&mut self) {
        self.held = None;
    }

    fn validate<'a>(&self, record: &RecordView<'a>) -> Result<EditPlan<'a>, Rejection> {
        Login.validate(record).map(|event| self.edits.plan(event))
    }

    fn enrich(&self, plan: &EditPlan<'_>, now: &Now, out: &mut Vec<u8>) -> Enriched {
        let (to_add, enriched) = enrichment(&plan.event, now);
        let country = self.country(plan);
        self.edits.write(plan, &to_add, country.as_ref().map(Country::code), out);
        enriched
    }

    fn field<'e>(&self, plan: &'e EditPlan<'_>, name: &str, now: &Now) -> Option<Cow<'e, str>> {
        if let Some(written) = self.edits.written(plan, name) {
            return written;
        }
        if self.edits.country_field() == Some(name) {
            let country = self.country(plan)?;
            return String::from_utf8(country.code().to_vec()).ok().map(Cow::Owned);
        }
        Login.field(&plan.event, name, now)
    }

    fn count(&self, plan: &EditPlan<'_>, tally: &mut Tally) {
        Login.count(&plan.event, tally);
    }

    fn key<'k>(&self, plan: &'k EditPlan<'_>, key: Option<&'k [u8]>) -> Option<&'k [u8]> {
        self.edits.key(plan, key)
    }
}
