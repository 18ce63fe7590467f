package batch

import "strconv"

// StopAfterKey is the metadata key by which a batch overrides
// Config.StopAfter: a number of lines, or "off".
const StopAfterKey = "stop_after"

// NoStop as Config.StopAfter never pauses a batch for its failures.
const NoStop = -1

// ParseStopAfter reads a number of lines above 0, or "off": NoStop.
func ParseStopAfter(s string) (int, error) {
	if s == "off" {
		return NoStop, nil
	}
	n, err := strconv.Atoi(s)
	if err == nil && n < 1 {
		err = strconv.ErrRange
	}
	return n, err
}
