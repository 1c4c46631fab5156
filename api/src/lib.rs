//! REST: what people and programs switch, and the questions they ask
