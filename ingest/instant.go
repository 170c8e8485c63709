package ingest

import "github.com/quipudb/quipu/event"

// parseInstant reads an RFC 3339 date and time as milliseconds since 1970; finer parts are cut off. false: it is none, or outside of what
// an event may have.
func parseInstant(text []byte) (ms int64, ok bool) {
	if len(text) < len("2006-01-02T15:04:05Z") || text[4] != '-' || text[7] != '-' || text[10]|0x20 != 't' || text[13] != ':' || text[16] != ':' {
		return 0, false
	}
	var f [6]int
	for i, at := range [...]int{0, 5, 8, 11, 14, 17} {
		n, valid := twoDigits(text[at:])
		if i == 0 {
			low, lowValid := twoDigits(text[2:])
			n, valid = n*100+low, valid && lowValid
		}
		if !valid {
			return 0, false
		}
		f[i] = n
	}
	year, month, day, hour, minute, second := f[0], f[1], f[2], f[3], f[4], f[5]
	if month < 1 || month > 12 || day < 1 || day > daysIn(year, month) || hour > 23 || minute > 59 || second > 59 {
		return 0, false
	}
	fraction, rest, ok := parseFraction(text[19:])
	if !ok {
		return 0, false
	}
	offset, ok := parseZone(rest)
	if !ok {
		return 0, false
	}
	ms = ((daysSince1970(year, month, day)*24+int64(hour))*60+int64(minute-offset))*60_000 + int64(second)*1000 + int64(fraction)
	return ms, ms >= event.MinTimeMs && ms < event.MaxTimeMs
}

func twoDigits(text []byte) (int, bool) {
	a, b := text[0]-'0', text[1]-'0'
	return int(a)*10 + int(b), a <= 9 && b <= 9
}

// parseFraction reads an optional fraction of a second, in milliseconds.
func parseFraction(text []byte) (ms int, rest []byte, ok bool) {
	if len(text) == 0 || text[0] != '.' {
		return 0, text, true
	}
	unit := 100
	i := 1
	for ; i < len(text) && text[i]-'0' <= 9; i++ {
		ms += int(text[i]-'0') * unit
		unit /= 10
	}
	return ms, text[i:], i > 1
}

// parseZone reads "Z" or an offset like +02:00, in minutes.
func parseZone(text []byte) (minutes int, ok bool) {
	if len(text) == 1 {
		return 0, text[0]|0x20 == 'z'
	}
	if len(text) != 6 || text[3] != ':' || (text[0] != '+' && text[0] != '-') {
		return 0, false
	}
	hours, ok1 := twoDigits(text[1:])
	minutes, ok2 := twoDigits(text[4:])
	if !ok1 || !ok2 || hours > 23 || minutes > 59 {
		return 0, false
	}
	minutes += hours * 60
	if text[0] == '-' {
		minutes = -minutes
	}
	return minutes, true
}

func daysIn(year, month int) int {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

// daysSince1970 counts days in the Gregorian calendar, in years that begin in March so that a leap day ends one.
func daysSince1970(year, month, day int) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	y := int64(year)
	return y*365 + y/4 - y/100 + y/400 + int64((153*(month-3)+2)/5) + int64(day) - 719469
}
