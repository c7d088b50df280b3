//! Owns the shape of a profile file: which keys there are and what type each value has.
//!
//! Invariant: an unknown key or word is an error, and a `Written` value is well formed by itself. `None` and an
//! empty list mean "not written", so that a child can be told from its ancestors. Knows no defaults and no
//! contradictions: `inherit.rs` and `validate.rs` do.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::environment::EnvPattern;
use crate::host::HostPattern;
use crate::path::{PathEntry, ProfilePath};
use crate::resolved::{Access, Gpu, Guard, Home, Isolation, NetMode};
use crate::units::{Amount, Bytes, BytesPerSecond, Limit};

/// A profile file.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Written {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The profile this one starts from. Without it a profile starts from nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extends: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ptrace: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub userns: Option<bool>,
    pub fs: WrittenFs,
    pub git: WrittenGit,
    pub net: WrittenNet,
    pub env: WrittenEnv,
    pub dev: WrittenDev,
    pub limits: WrittenLimits,
}

#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WrittenFs {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace: Option<Access>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub home: Option<Home>,
    #[serde(skip_serializing_if = "Option::is_none", with = "size")]
    pub tmp_size: Option<Bytes>,
    pub read: Vec<PathEntry>,
    pub write: Vec<PathEntry>,
    pub hide: Vec<PathEntry>,
    pub protect: Vec<PathEntry>,
    pub overlay: Vec<PathEntry>,
}

#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WrittenGit {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Guard>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<Guard>,
}

#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WrittenNet {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<NetMode>,
    pub hosts: Vec<HostPattern>,
    pub ports: Vec<Port>,
}

/// 1 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub(crate) struct Port(pub u16);

#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WrittenEnv {
    pub allow: Vec<EnvPattern>,
    pub set: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WrittenDev {
    pub gpu: Vec<Gpu>,
}

#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WrittenLimits {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<Limit<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_files: Option<Limit<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_size: Option<Limit<Bytes>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Limit<Bytes>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wall_clock: Option<Limit<Duration>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<Limit<Duration>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_rate: Option<Limit<BytesPerSecond>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_reserve: Option<Limit<Bytes>>,
}

/// The word for no ceiling.
const UNLIMITED: &str = "unlimited";

/// Parses inside the visitor: only there does the parser add an item's place to an error.
struct TextVisitor<T>(PhantomData<T>);

impl<T: FromStr<Err = String>> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

/// Reads and writes a type as the text that its `FromStr` and `Display` agree on.
macro_rules! as_text {
    ($type:ty) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(TextVisitor(PhantomData))
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}

as_text!(PathEntry);
as_text!(ProfilePath);
as_text!(HostPattern);
as_text!(EnvPattern);

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PortVisitor;

        impl Visitor<'_> for PortVisitor {
            type Value = Port;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number from 1 to 65535")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Port, E> {
                match u16::try_from(number) {
                    Ok(port) if port != 0 => Ok(Port(port)),
                    _ => Err(E::custom(format!("{number} is no port: write a number from 1 to 65535"))),
                }
            }
        }

        deserializer.deserialize_i64(PortVisitor)
    }
}

/// An amount: a string with its unit, or a bare integer where that has one meaning. Zero is refused: it would
/// mean "nothing" in one place and "no ceiling" in the kernel's next one.
struct AmountVisitor<T>(PhantomData<T>);

impl<T: Amount> Visitor<'_> for AmountVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an amount such as {}", T::EXAMPLE)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        T::parse(text).and_then(above_zero).map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        let number = u64::try_from(number);
        let number = number.map_err(|_| E::custom("an amount cannot be negative: write a positive one"))?;
        self.visit_u64(number)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        T::from_integer(number).and_then(above_zero).map_err(E::custom)
    }
}

fn above_zero<T: Amount>(amount: T) -> Result<T, String> {
    if amount.is_zero() {
        return Err(format!("zero leaves nothing to run with: write an amount such as {}", T::EXAMPLE));
    }
    Ok(amount)
}

/// `"512MiB"`, `"unlimited"`, or `{ value = …, hard = true }`.
struct LimitVisitor<T>(PhantomData<T>);

/// `value` inside a limit's table: an amount or the word for none.
struct Ceiling<T>(Option<T>);

impl<'de, T: Amount> Visitor<'de> for LimitVisitor<T> {
    type Value = Limit<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an amount such as {0}, \"{UNLIMITED}\", or {{ value = {0}, hard = true }}", T::EXAMPLE)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Limit<T>, E> {
        if text == UNLIMITED {
            return Ok(Limit::unlimited());
        }
        AmountVisitor(PhantomData).visit_str(text).map(Limit::soft)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Limit<T>, E> {
        AmountVisitor(PhantomData).visit_i64(number).map(Limit::soft)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Limit<T>, E> {
        AmountVisitor(PhantomData).visit_u64(number).map(Limit::soft)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Limit<T>, A::Error> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields, bound = "T: Amount")]
        struct Table<T> {
            value: Ceiling<T>,
            #[serde(default)]
            hard: bool,
        }
        let table = Table::<T>::deserialize(de::value::MapAccessDeserializer::new(map))?;
        Ok(Limit { value: table.value.0, hard: table.hard })
    }
}

impl<'de, T: Amount> Deserialize<'de> for Limit<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LimitVisitor(PhantomData))
    }
}

impl<'de, T: Amount> Deserialize<'de> for Ceiling<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// The same words as a whole limit, without its table.
        struct CeilingVisitor<T>(PhantomData<T>);

        impl<T: Amount> Visitor<'_> for CeilingVisitor<T> {
            type Value = Ceiling<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                AmountVisitor::<T>(PhantomData).expecting(f)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Ceiling<T>, E> {
                LimitVisitor(PhantomData).visit_str(text).map(|limit| Ceiling(limit.value))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Ceiling<T>, E> {
                LimitVisitor(PhantomData).visit_i64(number).map(|limit| Ceiling(limit.value))
            }
        }

        deserializer.deserialize_any(CeilingVisitor(PhantomData))
    }
}

impl<T: Amount> Serialize for Limit<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ceiling = Ceiling(self.value);
        if !self.hard {
            return ceiling.serialize(serializer);
        }
        let mut table = serializer.serialize_map(Some(2))?;
        table.serialize_entry("value", &ceiling)?;
        table.serialize_entry("hard", &true)?;
        table.end()
    }
}

impl<T: Amount> Serialize for Ceiling<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(amount) = self.0 else { return serializer.serialize_str(UNLIMITED) };
        let text = amount.print();
        match text.parse::<i64>() {
            Ok(count) => serializer.serialize_i64(count),
            Err(_) => serializer.serialize_str(&text),
        }
    }
}

/// `fs.tmp_size`: an amount that always has a ceiling.
mod size {
    use super::*;

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Bytes>, D::Error> {
        deserializer.deserialize_any(AmountVisitor(PhantomData)).map(Some)
    }

    pub fn serialize<S: Serializer>(size: &Option<Bytes>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&size.expect("skipped when not written"))
    }
}
