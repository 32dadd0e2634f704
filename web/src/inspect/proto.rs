//! pprof's messages: `profile.proto` of <https://github.com/google/pprof>, as far as it is used here. Strings are indices
//! in the table of strings.

/// A profile.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Profile {
    /// What the values of samples are.
    #[prost(message, repeated, tag = "1")]
    pub(crate) sample_type: Vec<ValueType>,
    /// The samples.
    #[prost(message, repeated, tag = "2")]
    pub(crate) sample: Vec<Sample>,
    /// What locations are in: the program.
    #[prost(message, repeated, tag = "3")]
    pub(crate) mapping: Vec<Mapping>,
    /// Calls.
    #[prost(message, repeated, tag = "4")]
    pub(crate) location: Vec<Location>,
    /// Functions.
    #[prost(message, repeated, tag = "5")]
    pub(crate) function: Vec<Function>,
    /// Strings, the first of them empty.
    #[prost(string, repeated, tag = "6")]
    pub(crate) string_table: Vec<String>,
    /// When it was made, in nanoseconds since 1970.
    #[prost(int64, tag = "9")]
    pub(crate) time_nanos: i64,
    /// For how long it was made.
    #[prost(int64, tag = "10")]
    pub(crate) duration_nanos: i64,
    /// What lies between two samples.
    #[prost(message, optional, tag = "11")]
    pub(crate) period_type: Option<ValueType>,
    /// How much of it.
    #[prost(int64, tag = "12")]
    pub(crate) period: i64,
}

/// What a value is.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ValueType {
    /// Its name.
    #[prost(int64, tag = "1")]
    pub(crate) kind: i64,
    /// Its unit.
    #[prost(int64, tag = "2")]
    pub(crate) unit: i64,
}

/// Calls, and how often.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Sample {
    /// The calls, the innermost first.
    #[prost(uint64, repeated, tag = "1")]
    pub(crate) location_id: Vec<u64>,
    /// A value for each of the profile's types.
    #[prost(int64, repeated, tag = "2")]
    pub(crate) value: Vec<i64>,
    /// What else is known.
    #[prost(message, repeated, tag = "3")]
    pub(crate) label: Vec<Label>,
}

/// Something that is known of a sample.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Label {
    /// What.
    #[prost(int64, tag = "1")]
    pub(crate) key: i64,
    /// The value.
    #[prost(int64, tag = "2")]
    pub(crate) str: i64,
}

/// A file that is loaded.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Mapping {
    /// Its number.
    #[prost(uint64, tag = "1")]
    pub(crate) id: u64,
    /// Its name.
    #[prost(int64, tag = "5")]
    pub(crate) filename: i64,
    /// Whether names were looked up already.
    #[prost(bool, tag = "7")]
    pub(crate) has_functions: bool,
    /// The same of files.
    #[prost(bool, tag = "8")]
    pub(crate) has_filenames: bool,
    /// The same of lines.
    #[prost(bool, tag = "9")]
    pub(crate) has_line_numbers: bool,
    /// The same of inlined functions.
    #[prost(bool, tag = "10")]
    pub(crate) has_inline_frames: bool,
}

/// A call.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Location {
    /// Its number.
    #[prost(uint64, tag = "1")]
    pub(crate) id: u64,
    /// What it is in.
    #[prost(uint64, tag = "2")]
    pub(crate) mapping_id: u64,
    /// Where it is.
    #[prost(uint64, tag = "3")]
    pub(crate) address: u64,
    /// Its functions, the innermost first.
    #[prost(message, repeated, tag = "4")]
    pub(crate) line: Vec<Line>,
}

/// A line in a function.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Line {
    /// The function's number.
    #[prost(uint64, tag = "1")]
    pub(crate) function_id: u64,
    /// The line.
    #[prost(int64, tag = "2")]
    pub(crate) line: i64,
}

/// A function.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Function {
    /// Its number.
    #[prost(uint64, tag = "1")]
    pub(crate) id: u64,
    /// Its name.
    #[prost(int64, tag = "2")]
    pub(crate) name: i64,
    /// Its name for the linker.
    #[prost(int64, tag = "3")]
    pub(crate) system_name: i64,
    /// Its file.
    #[prost(int64, tag = "4")]
    pub(crate) filename: i64,
}
