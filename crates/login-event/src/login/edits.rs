//! Edits that a deployment asks for beyond the enrichment that everybody gets: a country, fields of its own, pseudonyms
//! or nothing in place of personal data. Only where something is asked for is any of this on the way of an event; without,
//! [`LoginEvent::write_enriched`] writes it.
//!
//! ```text
//! LoginEvent ──► Edits::plan ──► EditPlan ──► write
//!                 finds what changes      edits, in the order of the text
//! ```
//!
//! What is there already is replaced where it stands, or cut out with its comma; what is not follows at
//! the end: `device_type`, `processed_at`, `latency_ms`, the country, the fields of the deployment by
//! their names. Every other byte stays.

use std::borrow::Cow;
use std::net::IpAddr;

use super::fields::{Field, OPENINGS};
use super::pseudonymize::{IdPrivacy, IpPrivacy, Pseudonymizer, Written};
use super::{Enrichment, LoginEvent, write_number, write_string};
use crate::{Members, Step};

/// The edits that a deployment asks for.
#[derive(Clone)]
pub struct EditOptions<'a> {
    /// The form that the user is written in.
    pub user_id: IdPrivacy,
    /// The form that the device is written in.
    pub device_id: IdPrivacy,
    /// The form that the address is written in.
    pub ip: IpPrivacy,
    /// The key of pseudonyms. Without one, nothing is written in their place.
    pub key: Option<&'a [u8]>,
    /// The field that the address's country is written to, where that is wanted.
    pub country: Option<&'a str>,
    /// Fields that every event gets, at most 64: their names, and their values in JSON.
    pub statics: Vec<(&'a str, Vec<u8>)>,
}

/// The edits to every event. Their `Debug` shows no key.
#[derive(Debug)]
pub struct Edits {
    user_id: Pseudonymizer,
    device_id: Pseudonymizer,
    ip: Pseudonymizer,
    country: Option<Added>,
    statics: Vec<Added>,
}

/// A field that is added.
#[derive(Debug)]
struct Added {
    name: String,
    /// `,"name":`
    opening: Vec<u8>,
    /// The value in JSON; empty for the country's.
    value: Vec<u8>,
}

impl Added {
    fn new(name: &str, value: Vec<u8>) -> Self {
        let mut opening = vec![b','];
        write_string(name.as_bytes(), &mut opening);
        opening.push(b':');
        Self { name: name.to_owned(), opening, value }
    }
}

/// One edit in an event's text.
#[derive(Debug, Clone, Copy)]
struct Edit {
    /// Where the member before this one ends, or the first begins.
    before: usize,
    is_first: bool,
    /// The value.
    start: usize,
    end: usize,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Own(Field),
    Country,
    Static(usize),
}

/// An event, and the edits that it is written with.
#[derive(Debug)]
pub struct EditPlan<'a> {
    /// The event as it came.
    pub event: LoginEvent<'a>,
    user_id: Personal<'a>,
    device_id: Personal<'a>,
    ip: Personal<'a>,
    edits: Vec<Edit>,
    /// The fields of the deployment that the event has, a bit for each.
    statics_there: u64,
    country_there: bool,
}

/// A field that says who a person is.
#[derive(Debug, Default)]
struct Personal<'a> {
    came: Cow<'a, str>,
    written: Written,
}

impl EditPlan<'_> {
    /// The event's address.
    pub fn address(&self) -> Option<IpAddr> {
        self.ip.came.parse().ok()
    }
}

impl Edits {
    /// Edits by these options; `None` where they ask for nothing.
    pub fn new(options: &EditOptions<'_>) -> Option<Self> {
        let statics = options.statics.iter().map(|(name, value)| Added::new(name, value.clone()));
        let edits = Self {
            user_id: Pseudonymizer::of_id(options.user_id, options.key),
            device_id: Pseudonymizer::of_id(options.device_id, options.key),
            ip: Pseudonymizer::of_ip(options.ip, options.key),
            country: options.country.map(|name| Added::new(name, Vec::new())),
            statics: statics.collect(),
        };
        let keeps_all = [&edits.user_id, &edits.device_id, &edits.ip].into_iter().all(Pseudonymizer::keeps);
        let adds = edits.country.is_some() || !edits.statics.is_empty();
        (adds || !keeps_all).then_some(edits)
    }

    /// Finds the edits to an event.
    pub fn plan<'a>(&self, event: LoginEvent<'a>) -> EditPlan<'a> {
        let text = simdutf8::basic::from_utf8(event.text).unwrap_or_default();
        let mut plan = EditPlan {
            event,
            user_id: Personal::default(),
            device_id: Personal::default(),
            ip: Personal::default(),
            edits: Vec::with_capacity(8),
            statics_there: 0,
            country_there: false,
        };
        let Ok(mut members) = Members::of(text) else { return plan };
        let first = text.find('{').map_or(0, |open| open + 1);
        let mut before = first;
        let mut expected = Field::UserId;
        loop {
            let (field, value) = match members.value_behind(&OPENINGS[expected as usize]) {
                Some(Ok(value)) => (Ok(expected), value),
                None => match members.step() {
                    Ok(Step::Member(name, value)) => (Field::of(&name).ok_or(name), value),
                    _ => return plan,
                },
                Some(Err(_)) => return plan,
            };
            let what = match field {
                Ok(field) => {
                    expected = field.often_before();
                    self.own(field, || value.text(text).unwrap_or_default(), &mut plan)
                }
                Err(name) => self.added(&name, &mut plan),
            };
            let (start, end) = (value.span.range().start, value.span.range().end);
            if let Some(what) = what {
                plan.edits.push(Edit { before, is_first: before == first, start, end, what });
            }
            before = end;
        }
    }

    fn own<'a>(&self, field: Field, came: impl FnOnce() -> Cow<'a, str>, plan: &mut EditPlan<'a>) -> Option<What> {
        let (pseudonymizer, personal) = match field {
            Field::UserId => (&self.user_id, &mut plan.user_id),
            Field::DeviceId => (&self.device_id, &mut plan.device_id),
            Field::Ip => (&self.ip, &mut plan.ip),
            Field::DeviceType if plan.event.device_type_stays => return None,
            Field::DeviceType | Field::ProcessedAt | Field::LatencyMs => return Some(What::Own(field)),
            Field::AppVersion | Field::Locale | Field::Timestamp => return None,
        };
        let is_asked = field == Field::Ip && self.country.is_some();
        if pseudonymizer.keeps() && !is_asked {
            return None;
        }
        personal.came = came();
        personal.written = pseudonymizer.pseudonymize(&personal.came);
        (!pseudonymizer.keeps()).then_some(What::Own(field))
    }

    fn added(&self, name: &str, plan: &mut EditPlan<'_>) -> Option<What> {
        if self.country.as_ref().is_some_and(|country| country.name == name) {
            plan.country_there = true;
            return Some(What::Country);
        }
        let at = self.statics.iter().position(|added| added.name == name)?;
        plan.statics_there |= 1 << at;
        Some(What::Static(at))
    }

    /// The text that is written in a field instead of what came; [`None`] where nothing is, and what came counts. A
    /// field that is left out is an empty option.
    pub fn written<'p>(&self, plan: &'p EditPlan<'_>, name: &str) -> Option<Option<Cow<'p, str>>> {
        let personal = match Field::of(name) {
            Some(Field::UserId) => &plan.user_id,
            Some(Field::DeviceId) => &plan.device_id,
            Some(Field::Ip) => &plan.ip,
            Some(_) => return None,
            None => {
                let value = &self.statics.iter().find(|added| added.name == name)?.value;
                let text = serde_json::from_slice::<String>(value).ok();
                return Some(Some(Cow::Owned(text.unwrap_or_else(|| String::from_utf8_lossy(value).into_owned()))));
            }
        };
        match &personal.written {
            Written::Kept => None,
            Written::Text(text) => Some(std::str::from_utf8(text).ok().map(Cow::Borrowed)),
            Written::Removed => Some(None),
        }
    }

    /// The name of the field that the country is written to.
    pub fn country_field(&self) -> Option<&str> {
        self.country.as_ref().map(|added| added.name.as_str())
    }

    /// The record's key as it is written: where it says what a pseudonymized field says, it says no more than
    /// that field does.
    pub fn key<'k>(&self, plan: &'k EditPlan<'_>, key: Option<&'k [u8]>) -> Option<&'k [u8]> {
        let key = key?;
        let all = [&plan.user_id, &plan.device_id, &plan.ip];
        match all.into_iter().find(|field| field.written != Written::Kept && field.came.as_bytes() == key) {
            Some(Personal { written: Written::Text(text), .. }) => Some(text),
            Some(_) => None,
            None => Some(key),
        }
    }

    /// Appends the event with its edits made.
    pub fn write(&self, plan: &EditPlan<'_>, to_add: &Enrichment<'_>, country: Option<&[u8; 2]>, out: &mut Vec<u8>) {
        const ROOM: usize = 256;
        let event = &plan.event;
        let added: usize = self.statics.iter().map(|added| added.opening.len() + added.value.len()).sum();
        out.reserve(event.text.len() + ROOM + added);
        let mut copy = Copying { text: event.text, at: 0, first_is_gone: false };
        for edit in &plan.edits {
            let personal = |personal: &Personal<'_>, copy: &mut Copying<'_>, out: &mut Vec<u8>| match &personal.written
            {
                Written::Text(text) => copy.replace(edit, out, |out| write_string(text, out)),
                Written::Kept | Written::Removed => copy.cut(edit, out),
            };
            match edit.what {
                What::Own(Field::UserId) => personal(&plan.user_id, &mut copy, out),
                What::Own(Field::DeviceId) => personal(&plan.device_id, &mut copy, out),
                What::Own(Field::Ip) => personal(&plan.ip, &mut copy, out),
                What::Own(Field::ProcessedAt) => {
                    copy.replace(edit, out, |out| out.extend_from_slice(to_add.processed_at));
                }
                What::Own(Field::LatencyMs) => copy.replace(edit, out, |out| write_number(to_add.latency_ms, out)),
                What::Own(_) => copy.replace(edit, out, |out| write_string(event.device_type.as_bytes(), out)),
                What::Country => match country {
                    Some(code) => copy.replace(edit, out, |out| write_string(code, out)),
                    None => copy.cut(edit, out),
                },
                What::Static(at) => {
                    let value = self.statics.get(at).map_or(&b"null"[..], |added| &added.value);
                    copy.replace(edit, out, |out| out.extend_from_slice(value));
                }
            }
        }
        copy.to(event.close, out);
        if event.device_type_at.is_none() {
            out.extend_from_slice(b",\"device_type\":");
            write_string(event.device_type.as_bytes(), out);
        }
        if event.processed_at_at.is_none() {
            out.extend_from_slice(b",\"processed_at\":");
            out.extend_from_slice(to_add.processed_at);
        }
        if event.latency_ms_at.is_none() {
            out.extend_from_slice(b",\"latency_ms\":");
            write_number(to_add.latency_ms, out);
        }
        if let (Some(field), Some(code), false) = (&self.country, country, plan.country_there) {
            out.extend_from_slice(&field.opening);
            write_string(code, out);
        }
        for (at, added) in self.statics.iter().enumerate() {
            if plan.statics_there & (1 << at) == 0 {
                out.extend_from_slice(&added.opening);
                out.extend_from_slice(&added.value);
            }
        }
        copy.to(event.text.len(), out);
    }
}

/// An event's text on its way to the output.
struct Copying<'t> {
    text: &'t [u8],
    /// What lies before this is done with.
    at: usize,
    /// Whether all members so far were cut out, so that the next one loses its comma.
    first_is_gone: bool,
}

impl Copying<'_> {
    fn to(&mut self, end: usize, out: &mut Vec<u8>) {
        let mut rest = self.text.get(self.at..end).unwrap_or_default();
        if self.first_is_gone && !rest.is_empty() {
            self.first_is_gone = false;
            let comma = rest.iter().position(|byte| *byte == b',').map_or(0, |comma| comma + 1);
            rest = rest.get(comma..).unwrap_or_default();
        }
        out.extend_from_slice(rest);
        self.at = end;
    }

    fn replace(&mut self, edit: &Edit, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        self.to(edit.start, out);
        write(out);
        self.at = edit.end;
    }

    /// Leaves a member out, with the comma before it.
    fn cut(&mut self, edit: &Edit, out: &mut Vec<u8>) {
        let was_gone = self.first_is_gone && edit.before == self.at;
        if !was_gone {
            self.to(edit.before, out);
        }
        self.first_is_gone = edit.is_first || was_gone;
        self.at = edit.end;
    }
}

#[cfg(test)]
mod tests;
