"""Numbers from scores and lesions, with their intervals over subjects; knows neither torch nor records."""
