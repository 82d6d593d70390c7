//! The login event with what a deployment asks for beyond the usual.

use std::borrow::Cow;
use std::sync::Arc;

use super::login::enrichment;
use super::{Enriched, Login, MakeStages, Now, Processor};
use crate::config::{Config, Enrich, Privacy, ProcessorKind, Secret};
use crate::event::{Amendments, Asked, Prepared, Rejection};
use crate::geoip::{Countries, Country, Snapshot};
use crate::observe::{Dimensions, GeoIpMetrics, Tally};
use crate::record::RecordView;

/// Does what [`Login`] does, adds a country and fields of the deployment, and hides who a person is.
/// Clones are the same.
///
/// What it gives for a record depends on the database of countries, too, which may be replaced at any time: it is held
/// for a batch, so that a record is routed by the country that it is written with, also where it is staged again.
#[derive(Debug, Clone)]
pub struct AmendedLogin {
    amendments: Arc<Amendments>,
    countries: Countries,
    held: Option<Snapshot>,
}

/// What the configuration asks for beyond the usual; `None` where that is nothing. Pseudonyms need the
/// key that [`Privacy::key`] gives.
pub fn amendments(enrich: &Enrich, privacy: &Privacy, key: Option<&Secret>) -> Option<Amendments> {
    // A configuration's values are all such as JSON has.
    let json = |value| serde_json::to_vec(value).unwrap_or_else(|_| b"null".to_vec());
    Amendments::new(&Asked {
        user_id: privacy.user_id,
        device_id: privacy.device_id,
        ip: privacy.ip,
        key: key.map(|key| key.expose().as_bytes()),
        country: enrich.geoip.file.is_some().then_some(&enrich.geoip.field),
        statics: enrich.statics.iter().map(|(name, value)| (name.as_str(), json(value))).collect(),
    })
}

/// The stages of a configuration, whoever runs them, and the countries that they ask; none are known yet.
pub fn configured(
    config: &Config,
    key: Option<&Secret>,
    metrics: GeoIpMetrics,
) -> (Arc<dyn MakeStages>, Option<Countries>) {
    let ProcessorKind::Login = config.pipeline.processor;
    let Some(amendments) = amendments(&config.enrich, &config.privacy, key) else { return (Arc::new(Login), None) };
    let countries = Countries::new(metrics);
    let is_asked = amendments.country_field().is_some();
    (Arc::new(AmendedLogin::new(amendments, countries.clone())), is_asked.then_some(countries))
}

impl AmendedLogin {
    /// By these amendments, with these countries where they ask for them.
    pub fn new(amendments: Amendments, countries: Countries) -> Self {
        Self { amendments: Arc::new(amendments), countries, held: None }
    }

    fn country(&self, prepared: &Prepared<'_>) -> Option<Country> {
        let address = prepared.address().filter(|_| self.amendments.country_field().is_some())?;
        match &self.held {
            Some(held) => held.country(address),
            None => self.countries.country(address),
        }
    }
}

impl Processor for AmendedLogin {
    type Event<'a> = Prepared<'a>;

    const NAME: &'static str = Login::NAME;

    const DIMENSIONS: Dimensions = Login::DIMENSIONS;

    fn hold(&mut self) {
        self.held = self.amendments.country_field().map(|_| self.countries.snapshot());
    }

    fn release(&mut self) {
        self.held = None;
    }

    fn validate<'a>(&self, record: &RecordView<'a>) -> Result<Prepared<'a>, Rejection> {
        Login.validate(record).map(|event| self.amendments.prepare(event))
    }

    fn enrich(&self, prepared: &Prepared<'_>, now: &Now, out: &mut Vec<u8>) -> Enriched {
        let (to_add, enriched) = enrichment(&prepared.event, now);
        let country = self.country(prepared);
        self.amendments.write(prepared, &to_add, country.as_ref().map(Country::code), out);
        enriched
    }

    fn field<'e>(&self, prepared: &'e Prepared<'_>, name: &str, now: &Now) -> Option<Cow<'e, str>> {
        if let Some(written) = self.amendments.written(prepared, name) {
            return written;
        }
        if self.amendments.country_field() == Some(name) {
            let country = self.country(prepared)?;
            return String::from_utf8(country.code().to_vec()).ok().map(Cow::Owned);
        }
        Login.field(&prepared.event, name, now)
    }

    fn count(&self, prepared: &Prepared<'_>, tally: &mut Tally) {
        Login.count(&prepared.event, tally);
    }

    fn key<'k>(&self, prepared: &'k Prepared<'_>, key: Option<&'k [u8]>) -> Option<&'k [u8]> {
        self.amendments.key(prepared, key)
    }
}
