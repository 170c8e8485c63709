package config

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// wanted names, for people, what a setting of a type holds.
func wanted(t reflect.Type) string {
	switch {
	case t == durationType:
		return "a duration like 500ms, 1h30m or 7d"
	case t == sizeType:
		return "a size like 64MiB"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.Slice:
		return "a list"
	case t.Kind() == reflect.String:
		return "a text"
	case t.Kind() == reflect.Float64:
		return "a number"
	}
	return "a whole number"
}

// setText parses a text as the target's type and sets it.
func setText(target reflect.Value, text string) error {
	switch {
	case target.Type() == durationType:
		d, err := ParseDuration(text)
		target.SetInt(int64(d))
		return err
	case target.Type() == sizeType:
		s, err := ParseSize(text)
		target.SetInt(int64(s))
		return err
	case target.Kind() == reflect.String:
		target.SetString(text)
		return nil
	case target.Kind() == reflect.Bool:
		if text != "true" && text != "false" {
			return fmt.Errorf("must be true or false, is %q", text)
		}
		target.SetBool(text == "true")
		return nil
	case target.CanFloat():
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return fmt.Errorf("must be a number, is %q", text)
		}
		target.SetFloat(f)
		return nil
	case target.CanInt():
		n, err := strconv.ParseInt(strings.ReplaceAll(text, "_", ""), 10, 64)
		if errors.Is(err, strconv.ErrRange) || (err == nil && target.OverflowInt(n)) {
			return fmt.Errorf("%s is too large a number", text)
		}
		if err != nil {
			return fmt.Errorf("must be a whole number, is %q", text)
		}
		target.SetInt(n)
		return nil
	}
	return fmt.Errorf("can't be set from a text")
}

// formatText is the inverse of setText.
func formatText(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case time.Duration:
		return FormatDuration(x)
	case fmt.Stringer: // Size, Secret
		return x.String()
	}
	return fmt.Sprint(v.Interface())
}

// checkTags holds a value against the range and oneof tags of its field.
func checkTags(v reflect.Value, field reflect.StructField) error {
	if words := strings.Fields(field.Tag.Get("oneof")); len(words) > 0 {
		return checkWords(v, words)
	}
	low, high, ok := strings.Cut(field.Tag.Get("range"), "..")
	if !ok {
		return nil
	}
	lowest, highest := reflect.New(v.Type()).Elem(), reflect.New(v.Type()).Elem()
	if err := errors.Join(setText(lowest, low), setText(highest, high)); err != nil {
		return fmt.Errorf("range of %s: %w", field.Name, err)
	}
	if less(v, lowest) || less(highest, v) {
		return fmt.Errorf("must be from %s to %s, is %s", low, high, formatText(v))
	}
	return nil
}

func less(a, b reflect.Value) bool {
	if a.CanFloat() {
		return !(a.Float() >= b.Float()) // a NaN is less than everything
	}
	return a.Int() < b.Int()
}

func checkWords(v reflect.Value, words []string) error {
	texts := []string{v.String()}
	if v.Kind() == reflect.Slice {
		texts = v.Interface().([]string)
	}
	for _, text := range texts {
		if !contains(words, text) {
			return fmt.Errorf("must be one of %s, is %q%s", strings.Join(words, ", "), text, nearest(text, words))
		}
	}
	return nil
}

func contains(words []string, text string) bool {
	for _, w := range words {
		if w == text {
			return true
		}
	}
	return false
}
