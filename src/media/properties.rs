//! Setting properties that another version or build of an element may not have.

use gst::glib;
use gst::prelude::*;

use super::CAT;

/// Sets a property from text if the element has it and takes the value.
///
/// The setters of the bindings panic on anything unexpected, and encoders differ by version and build.
pub(crate) fn set(element: &gst::Element, name: &str, text: &str) -> bool {
    let done = try_set(element, name, text).is_some();
    if !done {
        gst::info!(CAT, obj = element, "no property {name}={text} here");
    }
    done
}

/// Sets a number, moved into the range of the property.
pub(crate) fn set_number(element: &gst::Element, name: &str, number: i64) -> bool {
    let Some(pspec) = element.find_property(name) else {
        return false;
    };
    let number = range(&pspec).map_or(number, |(low, high)| number.clamp(low, high));
    set(element, name, &number.to_string())
}

fn try_set(element: &gst::Element, name: &str, text: &str) -> Option<()> {
    let pspec = element.find_property(name)?;
    if !pspec.flags().contains(glib::ParamFlags::WRITABLE)
        || pspec.flags().contains(glib::ParamFlags::CONSTRUCT_ONLY)
    {
        return None;
    }
    let value = glib::Value::deserialize_with_pspec(text, &pspec).ok()?;
    if let (Some((low, high)), Ok(number)) = (range(&pspec), text.parse::<i64>())
        && !(low..=high).contains(&number)
    {
        return None;
    }
    element.set_property_from_value(name, &value);
    Some(())
}

/// The range of an integer property.
fn range(pspec: &glib::ParamSpec) -> Option<(i64, i64)> {
    let wide = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    if let Some(spec) = pspec.downcast_ref::<glib::ParamSpecInt>() {
        Some((spec.minimum().into(), spec.maximum().into()))
    } else if let Some(spec) = pspec.downcast_ref::<glib::ParamSpecUInt>() {
        Some((spec.minimum().into(), spec.maximum().into()))
    } else if let Some(spec) = pspec.downcast_ref::<glib::ParamSpecInt64>() {
        Some((spec.minimum(), spec.maximum()))
    } else {
        let spec = pspec.downcast_ref::<glib::ParamSpecUInt64>()?;
        Some((wide(spec.minimum()), wide(spec.maximum())))
    }
}
