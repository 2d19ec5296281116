//! Instruction flow over a memory image.
