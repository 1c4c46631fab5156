//! Tests of `anchors`.
