package batch

import "time"

// ModelLines is the number of lines for a model.
type ModelLines struct {
	Model string
	Lines int64
}

// BatchModel is the part of a batch that names one model.
type BatchModel struct {
	BatchID string
	ModelLines
	Done int64 // of Lines, those with a durable result
}

// ModelMinute is the work that all gateways finished for a model in a minute.
type ModelMinute struct {
	Model string
	At    time.Time // when the minute begins
	Lines int64     // that ended in it
	// First and Began are when the first and the last of Lines was sent, in its last
	// attempt; either may be in an earlier minute. Last is when the last one ended.
	First, Began, Last time.Time
}

// Minute is the number of lines of a batch that got their result in a minute.
type Minute struct {
	At                time.Time // when it begins
	Completed, Failed int64
}

// Pace is the work that was finished of a batch in a minute.
type Pace struct {
	BatchID, Model string
	Minute
}
