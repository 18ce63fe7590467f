// Package doctor checks every part of a gateway and reports its findings with
// remedies.
package doctor
