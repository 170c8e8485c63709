package migrations

import "strings"

// split cuts a file into its statements at semicolons outside of quotes and comments. Comments before a statement are dropped,
// comments within are kept, for some are meant for the server. DELIMITER is not known: no file of ours needs it.
func split(text string) []string {
	var statements []string
	for text != "" {
		text = skipBlank(text)
		end := statementEnd(text)
		if s := strings.TrimSpace(text[:end]); s != "" {
			statements = append(statements, s)
		}
		text = strings.TrimPrefix(text[end:], ";")
	}
	return statements
}

// skipBlank drops white space and whole-line comments at the start.
func skipBlank(text string) string {
	for {
		text = strings.TrimLeft(text, " \t\r\n")
		if !startsLineComment(text) {
			return text
		}
		_, text, _ = strings.Cut(text, "\n")
	}
}

func startsLineComment(text string) bool {
	return strings.HasPrefix(text, "#") || text == "--" || strings.HasPrefix(text, "-- ") || strings.HasPrefix(text, "--\n")
}

// statementEnd returns where the first statement ends: at its semicolon, or at the end.
func statementEnd(text string) int {
	for i := 0; i < len(text); {
		switch rest := text[i:]; {
		case rest[0] == ';':
			return i
		case rest[0] == '\'' || rest[0] == '"' || rest[0] == '`':
			i += quoted(rest)
		case startsLineComment(rest):
			i += through(rest, "\n")
		case strings.HasPrefix(rest, "/*"):
			i += through(rest, "*/")
		default:
			i++
		}
	}
	return len(text)
}

// quoted returns the length of the quoted text that starts here. A doubled quote reads as two texts side by side, which ends at the same place.
func quoted(text string) int {
	quote := text[0]
	for i := 1; i < len(text); i++ {
		switch {
		case text[i] == '\\' && quote != '`':
			i++
		case text[i] == quote:
			return i + 1
		}
	}
	return len(text)
}

func through(text, end string) int {
	if at := strings.Index(text, end); at >= 0 {
		return at + len(end)
	}
	return len(text)
}
