"""Phrases of the simulated mailbox, in English and German: what customers want, and what they write around it."""

from collections.abc import Mapping, Sequence

LANGUAGES = ("en", "de")
# Each intent: its sentences by language. Slots in braces are filled by the simulator.
INTENTS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "track_delivery": {
        "en": (
            "Where is my {item}? It was supposed to arrive on {day}",
            "The tracking page of order {order} has not changed since {day}",
            "Can you tell me when the parcel with the {item} will be here",
            "The courier never showed up in {city} with my {item}",
            "My delivery is {number} days late, what is going on",
        ),
        "de": (
            "Ich warte auf {item}, das Paket sollte am {day} kommen",
            "Die Sendungsverfolgung zu Bestellung {order} steht seit {day} still",
            "Wann liefern Sie {item} endlich nach {city}",
            "Der Bote war am {day} nicht da, obwohl ich gewartet habe",
        ),
    },
    "cancel_order": {
        "en": (
            "Please cancel order {order}, I no longer need the {item}",
            "I ordered the {item} twice by mistake and want to stop one of them",
            "Is it still possible to withdraw my order from {day}",
            "Do not ship {order}, I changed my mind about the {item}",
        ),
        "de": (
            "Bitte stornieren Sie Bestellung {order}, ich brauche {item} nicht mehr",
            "Ich habe {item} aus Versehen doppelt bestellt, bitte eine davon streichen",
            "Kann ich meine Bestellung vom {day} noch widerrufen",
        ),
    },
    "change_address": {
        "en": (
            "I am moving to {city} on {day}, please update my address",
            "Send order {order} to my office in {city} instead of my home",
            "The street in my profile is out of date, we live in {city} now",
            "How do I add a second shipping address in {city}",
        ),
        "de": (
            "Ich ziehe am {day} nach {city}, bitte ändern Sie meine Anschrift",
            "Schicken Sie {order} bitte an mein Büro in {city} statt nach Hause",
            "Die Straße in meinem Profil ist veraltet, wir wohnen jetzt in {city}",
        ),
    },
    "return_item": {
        "en": (
            "I would like to send the {item} back, it does not suit me",
            "Where do I get a return label for the {item}",
            "The {item} is too small, how can I return it after {number} days",
            "Which shop in {city} accepts returns",
        ),
        "de": (
            "Ich möchte {item} zurückgeben, das gefällt mir nicht",
            "Wo bekomme ich ein Rücksendeetikett für {item}",
            "Kann ich {item} nach {number} Tagen noch zurückschicken",
        ),
    },
    "refund_status": {
        "en": (
            "I returned the {item} on {day} and still have not got my money back",
            "When will the {amount} for order {order} be refunded",
            "Only part of my refund has arrived, {amount} are missing",
            "You promised to pay back {amount} within {number} days",
        ),
        "de": (
            "Ich habe {item} am {day} zurückgeschickt und noch kein Geld erhalten",
            "Wann werden mir die {amount} für {order} erstattet",
            "Von der Erstattung fehlen noch {amount}",
        ),
    },
    "damaged_item": {
        "en": (
            "The {item} arrived broken, the box was crushed",
            "There is a crack in the {item} that I unpacked on {day}",
            "My new {item} stopped working after {number} days",
            "The {item} leaks and smells burnt",
        ),
        "de": (
            "Ich habe {item} kaputt erhalten, der Karton war eingedrückt",
            "Ich habe {item} am {day} ausgepackt und einen Riss gefunden",
            "Ich habe {item} seit {number} Tagen und nun funktioniert nichts mehr",
        ),
    },
    "wrong_item": {
        "en": (
            "I got a {other} although I ordered a {item}",
            "The parcel of order {order} has someone else's {other} in it",
            "You sent me the {item} in the wrong colour",
            "Instead of the {item} there was a {other} in the box",
        ),
        "de": (
            "Ich habe {item} bestellt und {other} bekommen",
            "Sie haben mir mit {order} {other} geschickt, obwohl ich {item} wollte",
            "Sie haben mir {item} in der falschen Farbe geschickt",
        ),
    },
    "payment_failed": {
        "en": (
            "My card was declined when I tried to pay {amount}",
            "The checkout shows an error after I enter my bank details",
            "I was charged {amount} twice for order {order}",
            "Paying for the {item} by card fails every time",
        ),
        "de": (
            "Meine Karte wurde bei {amount} abgelehnt",
            "An der Kasse kommt eine Fehlermeldung nach Eingabe der Bankdaten",
            "Für {order} wurden zweimal {amount} abgebucht",
        ),
    },
    "invoice_copy": {
        "en": (
            "I need an invoice for order {order} for my tax return",
            "Can you resend the receipt for {amount} from {day}",
            "The bill for the {item} must be made out to my company in {city}",
            "Please mail me a copy of the invoice over {amount}",
        ),
        "de": (
            "Ich brauche für {order} eine Rechnung für die Steuer",
            "Können Sie den Beleg über {amount} vom {day} erneut senden",
            "Die Rechnung für {item} soll auf meine Firma in {city} lauten",
        ),
    },
    "reset_password": {
        "en": (
            "I forgot my password and the reset mail does not arrive",
            "My account has been locked since {day}, I cannot log in",
            "The code that you text me to sign in is always invalid",
            "How do I choose a new password in the app",
        ),
        "de": (
            "Ich habe mein Passwort vergessen und die E-Mail zum Zurücksetzen kommt nicht",
            "Mein Konto ist seit {day} gesperrt, ich kann mich nicht anmelden",
            "Der Code zum Einloggen ist immer ungültig",
        ),
    },
    "discount_code": {
        "en": (
            "The voucher over {amount} is not accepted at checkout",
            "My promo code expired on {day}, can you extend it",
            "Does the student discount apply to the {item}",
            "I forgot to enter my coupon for order {order}",
        ),
        "de": (
            "Der Gutschein über {amount} wird an der Kasse nicht angenommen",
            "Mein Rabattcode ist am {day} abgelaufen, können Sie ihn verlängern",
            "Gilt der Studentenrabatt auch für {item}",
        ),
    },
    "product_question": {
        "en": (
            "Is the {item} available in other colours",
            "When will the {item} be in stock again",
            "Does the {item} fit together with the {other}",
            "How long is the guarantee on the {item}",
        ),
        "de": (
            "Gibt es {item} auch in anderen Farben",
            "Wann haben Sie {item} wieder auf Lager",
            "Kann man {item} an {other} anschließen",
        ),
    },
}
# Sentences that fit several intents: nobody can tell which one is meant.
VAGUE: Sequence[tuple[tuple[str, ...], Mapping[str, str]]] = (
    (
        ("track_delivery", "refund_status"),
        {"en": "I am still waiting since {day}", "de": "Ich warte immer noch seit {day}"},
    ),
    (
        ("damaged_item", "wrong_item", "return_item"),
        {"en": "I am not happy with the {item}", "de": "Ich habe {item} und bin nicht zufrieden"},
    ),
    (
        ("payment_failed", "discount_code", "reset_password"),
        {"en": "It says error {number} and I cannot go on", "de": "Fehler {number}, es geht nicht weiter"},
    ),
    (
        ("cancel_order", "change_address", "invoice_copy"),
        {"en": "Something in order {order} must be changed", "de": "Bei {order} muss etwas geändert werden"},
    ),
)
# Messages that are no matter for customer service.
OUT_OF_SCOPE: Mapping[str, Sequence[str]] = {
    "en": (
        "I would like to apply for the position as a driver in {city}",
        "We offer search engine optimisation for {amount} a month",
        "Our school in {city} is looking for sponsors for the fair on {day}",
        "What will the weather be like in {city} on {day}",
        "I am writing an article about retail and want to interview your press office",
        "My train to {city} was cancelled, who pays for the hotel",
        "Congratulations, you have won {amount}, claim it before {day}",
        "Can your doctor see me on {day}, I have had a fever for {number} days",
        "Do you know a good recipe for {number} people",
        "The neighbours in {city} make too much noise at night",
    ),
    "de": (
        "Ich möchte mich als Fahrer in {city} bewerben",
        "Wir bieten Suchmaschinenoptimierung für {amount} im Monat",
        "Unsere Schule in {city} sucht Sponsoren für das Fest am {day}",
        "Wie wird das Wetter am {day} in {city}",
        "Mein Zug nach {city} ist ausgefallen, wer zahlt das Hotel",
        "Sie haben {amount} gewonnen, melden Sie sich bis {day}",
        "Hat Ihr Arzt am {day} einen Termin, ich habe seit {number} Tagen Fieber",
    ),
}
OPENINGS: Mapping[str, Sequence[str]] = {
    "en": (
        "Hello",
        "Hi there",
        "Dear team",
        "Good morning",
        "Sorry to bother you again",
        "To whom it may concern",
        "Hey",
    ),
    "de": (
        "Hallo",
        "Guten Tag",
        "Sehr geehrte Damen und Herren",
        "Moin",
        "Entschuldigung für die Störung",
        "Liebes Team",
    ),
}
DETAILS: Mapping[str, Sequence[str]] = {
    "en": (
        "I have been a customer for {number} years",
        "I already called your hotline {number} times",
        "It is a present for {name} on {day}",
        "{name} placed the order for me",
        "I am away from {day} on",
        "The chat sent me here",
        "Your colleague {name} in {city} could not help me",
        "I use the app on an old phone",
        "It is rather urgent because {name} comes on {day}",
    ),
    "de": (
        "Ich bin seit {number} Jahren Kunde",
        "Ich habe schon {number} Mal bei der Hotline angerufen",
        "Es ist ein Geschenk für {name} zum {day}",
        "{name} hat das für mich bestellt",
        "Ab {day} bin ich verreist",
        "Ihre Kollegin {name} in {city} konnte mir nicht helfen",
        "Es ist dringend, weil {name} am {day} kommt",
    ),
}
CLOSINGS: Mapping[str, Sequence[str]] = {
    "en": (
        "Thanks, {name}",
        "Kind regards, {name}",
        "Please answer soon",
        "Thank you",
        "Best, {name} from {city}",
    ),
    "de": (
        "Danke, {name}",
        "Mit freundlichen Grüßen, {name}",
        "Bitte um schnelle Antwort",
        "Viele Grüße aus {city}",
    ),
}
# Slots of both languages, and those of each.
_ITEMS_EN = ("kettle", "lamp", "jacket", "backpack", "desk", "mixer", "headset", "bicycle", "tent", "rug")
_TOOLS_EN = ("drill", "camera", "toaster", "mattress", "monitor", "printer", "sofa", "watch", "stroller")
_ITEMS_DE = (
    "den Kessel",
    "die Lampe",
    "die Jacke",
    "den Rucksack",
    "den Tisch",
    "das Headset",
    "das Fahrrad",
)
_TOOLS_DE = ("das Zelt", "den Teppich", "die Kamera", "den Toaster", "die Matratze", "den Drucker", "die Uhr")
_CITIES_UK = ("Leeds", "York", "Bath", "Derby", "Cork", "Dover", "Luton", "Hull")
_CITIES_DE = ("Ulm", "Jena", "Köln", "Mainz", "Bonn", "Graz", "Basel", "Essen", "Trier", "Kiel")
_WOMEN = ("Anna", "Clara", "Emma", "Grace", "Ida", "Lena", "Mia", "Olga", "Rosa", "Vera")
_MEN = ("Ben", "David", "Felix", "Henry", "Jonas", "Karl", "Noah", "Paul", "Sven", "Tom")
ITEMS: Mapping[str, Sequence[str]] = {"en": _ITEMS_EN + _TOOLS_EN, "de": _ITEMS_DE + _TOOLS_DE}
DAYS: Mapping[str, Sequence[str]] = {
    "en": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "de": ("Montag", "Dienstag", "Mittwoch", "Donnerstag", "Freitag", "Samstag", "Sonntag"),
}
CITIES = _CITIES_UK + _CITIES_DE
NAMES = _WOMEN + _MEN
