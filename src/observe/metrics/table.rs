//! How families are declared: a table of rows, each a family; see [`families`](super::families).

use std::fmt::Debug;
use std::hash::Hash;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::{Metric, Registry, Unit};

use crate::observe::histogram::DurationHistogram;

/// A family's name, and how each of its series begins.
pub(super) struct Named<M> {
    name: &'static str,
    unit: Option<Unit>,
    make: fn() -> M,
}

/// A family that is called so.
pub(super) fn named<M: Default>(name: &'static str) -> Named<M> {
    Named { name, unit: None, make: M::default }
}

/// A family whose name ends in its unit.
pub(super) fn with_unit<M: Default>(name: &'static str, unit: Unit) -> Named<M> {
    Named { name, unit: Some(unit), make: M::default }
}

/// A family of durations, with the bounds that `make` gives them.
pub(super) fn histogram(name: &'static str, make: fn() -> DurationHistogram) -> Named<DurationHistogram> {
    Named { name, unit: Some(Unit::Seconds), make }
}

impl<M: Metric + TypedMetric + Clone> Named<M> {
    /// Registers one series without labels.
    pub(super) fn alone(self, help: &str, registry: &mut Registry) -> M {
        let metric = (self.make)();
        self.register(help, registry, metric.clone());
        metric
    }

    /// Registers a series for each value of these labels.
    pub(super) fn family<L>(self, help: &str, registry: &mut Registry) -> Family<L, M, fn() -> M>
    where
        L: EncodeLabelSet + Clone + Debug + Eq + Hash + Send + Sync + 'static,
    {
        let family = Family::new_with_constructor(self.make);
        self.register(help, registry, family.clone());
        family
    }

    fn register(self, help: &str, registry: &mut Registry, metric: impl Metric) {
        match self.unit {
            None => registry.register(self.name, help.trim_start(), metric),
            Some(unit) => registry.register_with_unit(self.name, help.trim_start(), unit, metric),
        }
    }
}

/// Families that are bound to labels together.
pub(super) trait Bound {
    /// What a handle is for.
    type Labels;
    /// A series of each.
    type Handle;

    /// The series of these labels; made where there are none.
    fn bind(&self, labels: &Self::Labels) -> Self::Handle;

    /// Removes the series that have just these labels. Those of fewer labels belong to others as well.
    fn remove(&self, labels: &Self::Labels);
}

/// Labels that follow from those of a handle.
pub(super) trait Of<Labels> {
    /// Whether a series of them is one handle's alone, and ends with it.
    const ENDS: bool;

    /// The labels of the series that this handle counts into.
    fn of(labels: &Labels) -> Self;
}

impl<L: Clone> Of<L> for L {
    const ENDS: bool = true;

    fn of(labels: &L) -> Self {
        labels.clone()
    }
}

/// Labels whose series stay: of a closed set, or as many as the configuration names.
#[diagnostic::on_unimplemented(
    message = "a series of `{Self}` ends with its handle, and nothing here would remove it",
    note = "declare the family in the table that is bound to these labels"
)]
pub(super) trait Lasting {}

/// Declares labels, which are [`Lasting`] or end with a handle.
macro_rules! labels {
    ($($labels:ident $(: $lasting:ident)? { $($label:ident: $type:ty),+ })+) => {$(
        #[derive(Debug, Clone, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub(super) struct $labels {
            $(pub(super) $label: $type,)+
        }

        $(impl $lasting for $labels {})?
    )+};
}

/// Declares families: a struct of them, which registers them in the order of its rows, and where they are bound to labels
/// a handle with a series of each. The documentation of a row is the family's help.
macro_rules! families {
    (
        $(#[$about:meta])*
        $visible:vis struct $handle:ident of $of:ident, by struct $families:ident {
            $($(#[doc = $help:literal])+ $field:ident: $metric:ident $(by $labels:ident)? = $named:expr;)+
        }
    ) => {
        families! {
            @families $families { $($(#[doc = $help])+ $field: $metric $(by $labels)? = $named;)+ }
        }

        $(#[$about])*
        #[derive(Debug, Clone)]
        $visible struct $handle {
            $($(#[doc = $help])+ pub $field: $metric,)+
        }

        impl Bound for $families {
            type Labels = $of;
            type Handle = $handle;

            fn bind(&self, labels: &$of) -> $handle {
                $handle { $($field: families!(@bind self.$field, labels $(, $labels)?),)+ }
            }

            fn remove(&self, labels: &$of) {
                $($(
                    if <$labels as Of<$of>>::ENDS {
                        self.$field.remove(&<$labels>::of(labels));
                    }
                )?)+
            }
        }
    };
    (
        struct $families:ident {
            $($(#[doc = $help:literal])+ $field:ident: $metric:ident $(by $labels:ident)? = $named:expr;)+
        }
    ) => {
        families! {
            @families $families { $($(#[doc = $help])+ $field: $metric $(by $labels)? = $named;)+ }
        }

        const _: fn() = || {
            fn stays<L: Lasting>() {}
            $($(stays::<$labels>();)?)+
        };
    };
    (
        @families $families:ident {
            $($(#[doc = $help:literal])+ $field:ident: $metric:ident $(by $labels:ident)? = $named:expr;)+
        }
    ) => {
        #[derive(Debug)]
        pub(super) struct $families {
            $(pub(super) $field: families!(@type $metric $(, $labels)?),)+
        }

        impl $families {
            fn new(registry: &mut Registry) -> Self {
                Self { $($field: families!(@new $named, concat!($($help),+), registry $(, $labels)?),)+ }
            }

            fn touch(&self) {
                $($(let _ = self.$field.get_or_create(&<$labels>::default());)?)+
            }
        }
    };
    (@type $metric:ident) => { $metric };
    (@type $metric:ident, $labels:ident) => { Family<$labels, $metric, fn() -> $metric> };
    (@new $named:expr, $help:expr, $registry:ident) => { $named.alone($help, $registry) };
    (@new $named:expr, $help:expr, $registry:ident, $labels:ident) => { $named.family::<$labels>($help, $registry) };
    (@bind $family:expr, $to:ident) => { $family.clone() };
    (@bind $family:expr, $to:ident, $labels:ident) => { $family.get_or_create_owned(&<$labels>::of($to)) };
}

pub(super) use {families, labels};
