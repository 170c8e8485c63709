package event

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Defaults and bounds of what a type accepts.
const (
	DefaultAcceptLate = 7 * 24 * time.Hour        // how old an event may be unless its type says otherwise
	MaxAcceptLate     = 20 * 366 * 24 * time.Hour // the most that a type may ask for
	MaxAhead          = 5 * time.Minute           // how far ahead of the log's clock an event time may be
)

// Type is a registered kind of event. Its name never changes and is never reused.
type Type struct {
	Name          string        `json:"name"`
	Unit          string        `json:"unit"` // what a value measures: "ms", "mi"; empty when events carry no value
	Description   string        `json:"description"`
	AllowNegative bool          `json:"allow_negative"` // negative weights undo; such a type offers no min and max
	AcceptLate    time.Duration `json:"accept_late_ns"` // how old an event may be when it arrives
	CreatedAt     time.Time     `json:"created_at"`
}

// ErrType is wrapped by every error that Validate returns.
var ErrType = errors.New("invalid event type")

var typeName = regexp.MustCompile(`^[a-z][a-z0-9_.-]{0,63}$`)

// ValidTypeName tells whether name may name an event type: a lower-case letter, then up to 63 of a–z, 0–9, '_', '.', '-'.
func ValidTypeName(name string) bool { return typeName.MatchString(name) }

// Validate returns an error that names the field and its limit, or nil.
func (t Type) Validate() error {
	switch {
	case !ValidTypeName(t.Name):
		return fmt.Errorf("%w: name %q must be a lower-case letter followed by at most 63 of a-z, 0-9, '_', '.', '-'", ErrType, t.Name)
	case len(t.Unit) > 32:
		return fmt.Errorf("%w: unit has %d bytes, the limit is 32", ErrType, len(t.Unit))
	case len(t.Description) > 255:
		return fmt.Errorf("%w: description has %d bytes, the limit is 255", ErrType, len(t.Description))
	case !printable(t.Unit):
		return fmt.Errorf("%w: unit %q must be one line of UTF-8 without control characters", ErrType, t.Unit)
	case !printable(t.Description):
		return fmt.Errorf("%w: description %q must be one line of UTF-8 without control characters", ErrType, t.Description)
	case t.AcceptLate < time.Minute || t.AcceptLate > MaxAcceptLate:
		return fmt.Errorf("%w: accept_late is %s, it must be between 1m and %s", ErrType, FormatDuration(t.AcceptLate), FormatDuration(MaxAcceptLate))
	}
	return nil
}

func printable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl)
}
