//! One item of a conversation with its JSON, which is written once: the same bytes go to the disk and out with every
//! request, so a server finds what it knows already, and a long conversation costs no time to send again.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

/// An item; clones are the same one.
#[derive(Clone)]
pub struct Item(Arc<Written>);

struct Written {
    value: Value,
    json: Box<RawValue>,
}

impl Item {
    /// Its JSON.
    pub fn json(&self) -> &str {
        self.0.json.get()
    }
}

impl From<Value> for Item {
    fn from(value: Value) -> Item {
        // A `Value` has nothing in it that JSON cannot say.
        let json = to_raw_value(&value).expect("a value is JSON");
        Item(Arc::new(Written { value, json }))
    }
}

impl Deref for Item {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.0.value
    }
}

impl Serialize for Item {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.json.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Item, D::Error> {
        Value::deserialize(deserializer).map(Item::from)
    }
}

impl PartialEq for Item {
    fn eq(&self, other: &Item) -> bool {
        self.0.value == other.0.value
    }
}

impl PartialEq<Value> for Item {
    fn eq(&self, other: &Value) -> bool {
        self.0.value == *other
    }
}

impl fmt::Debug for Item {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.json())
    }
}
