//! User minidumps (MDMP): a recipe that assembles one, with every mistake that a test wants, and a parser that takes
//! a good one apart and knows which bytes it has seen. Written from minidumpapiset.h and the MSDN pages.

mod parse;
mod recipe;

pub use parse::{Exception, Handle, Module, Parsed, Region, Thread, Unloaded};
pub use recipe::{Recipe, RecipeModule, RecipeRange, RecipeThread};
