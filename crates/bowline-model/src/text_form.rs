//! How what is written as one text goes into JSON: as that text.

/// Has serde write a type by its `Display` and read it by its `parse`, for `#[serde(try_from = "String", into = "String")]`.
macro_rules! text_form {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = &'static str;

            fn try_from(text: String) -> Result<Self, &'static str> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    };
}

pub(crate) use text_form;
