// Package doctor looks at every part of a gateway and says how each is, and
// what to do about it.
package doctor
