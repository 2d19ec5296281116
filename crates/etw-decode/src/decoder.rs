//! From an event to its name and fields.

use std::borrow::Cow;
use std::collections::HashMap;

use etl_file::{Event, EventId, Guid, HeaderKind, HookId, ProviderGuid};

use crate::manifest::{Manifest, Provider};
use crate::table::number_of;
use crate::value::{Body, Field};
use crate::{kernel, live_dump, trace_logging, wer_kernel};

/// Knows how events are read: what this crate knows by heart, and the manifests that it was given.
#[derive(Debug, Default)]
pub struct Decoder {
    manifests: HashMap<Guid, Provider>,
}

/// The number of an event among those of its provider or class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventNumber {
    /// A kernel event.
    Hook(HookId),
    /// The type of an event of a class.
    Type(u8),
    /// The id of a provider's event; 0 for those that describe themselves.
    Id(u16),
    /// The number of a WPP message.
    Message(u16),
    /// An event whose header is of a kind that says none.
    Kind(HeaderKind),
}

impl EventNumber {
    /// The number alone; `None` for an event without one.
    pub fn number(self) -> Option<u16> {
        match self {
            Self::Hook(hook) => Some(hook.0),
            Self::Type(number) => Some(number.into()),
            Self::Id(number) | Self::Message(number) => Some(number),
            Self::Kind(_) => None,
        }
    }
}

/// Which event it is.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct EventName<'e> {
    /// The provider, or the class of a kernel event, of one from before manifests, or of a WPP message.
    pub provider: Option<Guid>,
    /// Its name, if it is known.
    pub provider_name: Option<Cow<'e, str>>,
    /// The event's number.
    pub number: EventNumber,
    /// Version of the payload.
    pub version: u16,
    /// The event's name, if it is known.
    pub event_name: Option<Cow<'e, str>>,
}

impl EventName<'_> {
    /// The event by its name, else by its number: `ProcessStart`, `hook 0x0b15`, `type 12`, `event 5`, `message 9`.
    pub fn event(&self) -> Cow<'_, str> {
        if let Some(name) = &self.event_name {
            return Cow::Borrowed(name);
        }
        match self.number {
            EventNumber::Hook(hook) => hook.to_string(),
            EventNumber::Type(number) => format!("type {number}"),
            EventNumber::Id(number) => format!("event {number}"),
            EventNumber::Message(number) => format!("message {number}"),
            EventNumber::Kind(kind) => format!("{kind:?}"),
        }
        .into()
    }

    /// The provider by its name, else by its GUID in braces; `-` for an event that has none.
    pub fn provider(&self) -> Cow<'_, str> {
        match (&self.provider_name, self.provider) {
            (Some(name), _) => Cow::Borrowed(name),
            (None, Some(guid)) => format!("{{{guid}}}").into(),
            (None, None) => "-".into(),
        }
    }
}

/// What an event says.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Decoded<'e> {
    /// Which event it is.
    pub name: EventName<'e>,
    /// Its fields in the order of the payload; none of an event that is not understood.
    pub fields: Vec<Field<'e>>,
    /// What it says as a sentence, where its provider has one. Texts of the payload in it are as they are.
    pub message: Option<String>,
    /// What of the payload is in no field: all of it, when the event is not understood.
    pub rest: &'e [u8],
    /// True when the payload ends inside a field.
    pub cut: bool,
}

impl Decoder {
    /// Knows no manifest.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a manifest's providers; one that is known already is replaced.
    pub fn add(&mut self, manifest: Manifest) {
        self.manifests.extend(manifest.providers);
    }

    /// The provider or class of a name that is known, in whatever case: a kernel class, a provider that this crate reads,
    /// or one of a manifest.
    pub fn guid_of(&self, name: &str) -> Option<Guid> {
        let of_manifest = || self.manifests.iter().find(|(_, known)| known.name.eq_ignore_ascii_case(name));
        ProviderGuid::named(name)
            .or_else(|| wer_kernel::NAME.eq_ignore_ascii_case(name).then_some(wer_kernel::PROVIDER))
            .or_else(|| of_manifest().map(|(guid, _)| *guid))
    }

    /// The name of a provider or class, if it is known without an event.
    pub fn name_of(&self, provider: Guid) -> Option<&str> {
        match provider {
            wer_kernel::PROVIDER => Some(wer_kernel::NAME),
            _ => ProviderGuid::name(provider).or_else(|| self.manifests.get(&provider).map(|known| &*known.name)),
        }
    }

    /// Which event it is. This reads the header, and of an event that describes itself its name, but no payload.
    pub fn name<'a>(&'a self, event: &Event<'a>) -> EventName<'a> {
        let provider = event.class();
        let known = provider.and_then(|provider| self.name_of(provider)).map(Cow::Borrowed);
        EventName {
            provider,
            provider_name: known.or_else(|| trace_logging::provider_name(event)),
            number: number(event),
            version: event.version,
            event_name: self.event_name(event),
        }
    }

    fn event_name<'a>(&'a self, event: &Event<'a>) -> Option<Cow<'a, str>> {
        if let Some(hook) = event.hook() {
            return hook.name().map(Cow::Borrowed);
        }
        if let Some(id) = number_of(event, ProviderGuid::KERNEL_LIVE_DUMP) {
            return live_dump::event_name(event, id).map(Cow::Owned);
        }
        if let Some(id) = number_of(event, wer_kernel::PROVIDER) {
            return wer_kernel::event_name(id).map(Cow::Borrowed);
        }
        let of_manifest = || self.manifest(event).and_then(|(provider, id)| provider.event_name(id, event.version));
        kernel::event_name(event)
            .or_else(of_manifest)
            .map(Cow::Borrowed)
            .or_else(|| trace_logging::event_name(event))
            .filter(|name| !name.is_empty())
    }

    /// The manifest of an event's provider, and the event's id.
    fn manifest(&self, event: &Event<'_>) -> Option<(&Provider, u16)> {
        match event.id {
            EventId::Provider(found) => self.manifests.get(&found.provider).map(|provider| (provider, found.id)),
            _ => None,
        }
    }

    /// Name and fields.
    pub fn decode<'a>(&'a self, event: &Event<'a>) -> Decoded<'a> {
        let Body { fields, message, rest, cut } = self.body(event);
        Decoded { name: self.name(event), fields, message, rest, cut }
    }

    fn body<'a>(&'a self, event: &Event<'a>) -> Body<'a> {
        if event.hook().is_some() {
            return kernel::decode(event);
        }
        if let Some(id) = number_of(event, ProviderGuid::KERNEL_LIVE_DUMP) {
            return live_dump::decode(event, id);
        }
        if let Some(id) = number_of(event, wer_kernel::PROVIDER) {
            return wer_kernel::decode(event, id);
        }
        let of_manifest = || self.manifest(event).and_then(|(provider, id)| provider.decode(event, id));
        trace_logging::decode(event).or_else(of_manifest).unwrap_or_else(|| kernel::decode(event))
    }
}

fn number(event: &Event<'_>) -> EventNumber {
    if let Some(hook) = event.hook() {
        return EventNumber::Hook(hook);
    }
    match event.id {
        EventId::Class { opcode, .. } => EventNumber::Type(opcode),
        EventId::Provider(found) => EventNumber::Id(found.id),
        EventId::Message(message) => EventNumber::Message(message.number),
        _ => EventNumber::Kind(event.kind),
    }
}
