//! One frame as a client recorded it.

use std::time::Instant;

use serde_json::Value;

/// A text frame, and when it came.
#[derive(Debug, Clone)]
pub struct Frame {
    pub raw: String,
    pub json: Value,
    pub at: Instant,
}

/// A place that a client can come back to: the two parts of `after`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub epoch: String,
    pub offset: u64,
}

impl Frame {
    /// # Panics
    /// If the text is no JSON object.
    pub fn new(raw: String) -> Self {
        let json: Value = serde_json::from_str(&raw).unwrap_or_else(|e| panic!("the server sent no JSON ({e}): {raw}"));
        assert!(json.is_object(), "the server sent JSON that is no object: {raw}");
        Self { raw, json, at: Instant::now() }
    }

    /// Its beginning, for reports.
    pub fn short(&self) -> String {
        self.raw.chars().take(400).collect()
    }

    /// A text field, empty where it is absent.
    pub fn text(&self, field: &str) -> &str {
        self.json[field].as_str().unwrap_or_default()
    }

    pub fn kind(&self) -> &str {
        self.text("type")
    }

    pub fn event_type(&self) -> &str {
        self.text("event_type")
    }

    pub fn channel(&self) -> &str {
        self.text("channel")
    }

    pub fn key(&self) -> &str {
        self.text("key")
    }

    pub fn message_id(&self) -> &str {
        self.text("message_id")
    }

    pub fn offset(&self) -> u64 {
        self.json["offset"].as_u64().unwrap_or_else(|| panic!("no offset in {}", self.raw))
    }

    pub fn data(&self) -> &Value {
        &self.json["data"]
    }

    pub fn is_deleted(&self) -> bool {
        self.json["deleted"].as_bool().unwrap_or(false)
    }

    pub fn is_recovered(&self) -> bool {
        self.json["recovered"].as_bool().unwrap_or(false)
    }

    /// Whether it is a channel's message, not one of the protocol's own.
    pub fn is_message(&self) -> bool {
        self.json.get("message_id").is_some()
    }

    /// Whether it is a message of a stream channel: a state channel's message carries its key, an
    /// ephemeral channel's has no offset.
    pub fn is_stream(&self) -> bool {
        self.is_message() && self.json.get("key").is_none() && self.json.get("offset").is_some()
    }

    pub fn is_of(&self, channel: &str) -> bool {
        self.is_message() && self.channel() == channel
    }

    /// The place that this frame moves a client to, if it moves it.
    pub fn place(&self, epoch: &str) -> Option<Place> {
        match self.kind() {
            "connected" | "position" => Some(Place { epoch: self.text("epoch").into(), offset: self.offset() }),
            // A gap for one channel alone doesn't move the number that all channels share.
            "gap" if self.json.get("channel").is_none_or(Value::is_null) => {
                Some(Place { epoch: self.text("epoch").into(), offset: self.offset() })
            }
            _ if self.is_stream() && !self.is_recovered() => Some(Place { epoch: epoch.into(), offset: self.offset() }),
            _ => None,
        }
    }
}
