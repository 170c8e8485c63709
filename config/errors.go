package config

import (
	"errors"
	"fmt"
	"strings"
)

// Error is a setting that can't be used.
type Error struct {
	Origin string // where its value comes from: "quipu.yaml:12", "environment QUIPU_LOG_LEVEL", "flag --set", "default"
	Path   string // "ingest.max_body"; "" for a file that can't be read at all
	Reason string
}

func (e *Error) Error() string {
	if e.Path == "" {
		return e.Origin + ": " + e.Reason
	}
	return fmt.Sprintf("%s: %s: %s", e.Origin, e.Path, e.Reason)
}

// Errors are all the settings that can't be used. Its text is one line: the first of them, and how many more there are.
type Errors []*Error

func (e Errors) Error() string {
	if len(e) == 1 {
		return e[0].Error()
	}
	return fmt.Sprintf("%s (and %d more; quipu config check lists them)", e[0], len(e)-1)
}

// List returns each error of err's chain on its own.
func List(err error) []error {
	all, ok := errors.AsType[Errors](err)
	if !ok {
		return []error{err}
	}
	list := make([]error, len(all))
	for i, e := range all {
		list[i] = e
	}
	return list
}

// nearest returns a hint at the candidate that a misspelt word may have meant, or "".
func nearest(word string, candidates []string) string {
	best, bestDistance := "", len(word)/3+2
	for _, c := range candidates {
		if d := distance(word, c); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", best)
}

// distance counts the single-byte edits between two words (Levenshtein).
func distance(a, b string) int {
	a, b = strings.ToLower(a), strings.ToLower(b)
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
