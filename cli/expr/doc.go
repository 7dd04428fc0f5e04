// Package expr compiles and evaluates the ${{ }} expressions of a pipeline file.
//
// The language is small and closed: literals, members and indexes, arithmetic,
// comparison, boolean operators, the conditional and a fixed set of functions.
// It has no loops, no clock, no randomness and no I/O, so the same inputs give
// the same value, in time linear in the data.
//
// The parser and evaluator are our own rather than a library's. The libraries
// accept more than we want to promise (loops, pipes, integer division, 1/0 =
// infinity, wrapping overflow, negative indexes, chained comparisons, 0x1f),
// turn 1.10 into a float, and know no values that may only be asked about but
// not read. Refusing all of that before and after a library takes more code
// than the language itself, and leaves the position of a mistake to guesswork.
//
// Numbers are decimals. A number nothing was computed with keeps the digits it
// was written with. + - * and / take their operands as exact decimals and round
// the exact result once, to the nearest 64-bit float, whose shortest text is the
// new number; so 0.1 + 0.2 is 0.3, and 1 / 3 is 0.3333333333333333. Integers of
// 64 bits stay integers under + - * and %, and never overflow in silence.
package expr
