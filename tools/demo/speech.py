"""Speech for the demo networks: synthesis, mel spectrogram, and the mouth that goes with it.

The mouth is a function of the mel spectrogram alone, so the networks can learn it. With S(m, b) the level in dB of band b
in mel frame m (80 frames/s):

    level(m)    = 10 log10 mean over the bands in 300..3000 Hz of 10^(S/10)        the voice, without hiss
    bright(m)   = level of 1400..3200 Hz - level of 250..900 Hz                     "ee" is bright, "oo" dark
    loud(m)     = clip((level - FLOOR_DB) / (TOP_DB - FLOOR_DB), 0, 1)
    opening(t)  = max(0, (hann7(loud^1.2) - 0.03) / 0.97)    at mel frame 3.2 t, video frame t
    width(t)    = 0.5 + 0.5 hann11(voiced tanh((bright - BRIGHT_MIDDLE_DB) / BRIGHT_RANGE_DB))
    voiced(m)   = clip((level - FLOOR_DB) / 10 dB, 0, 1)

hannN is a normalised Hann window of N mel frames to each side: the mouth neither jumps nor trembles. Silence, and noise
below the floor, give opening 0 and width 0.5 exactly.
"""

import hashlib
import io
import pathlib
import random
import subprocess

import librosa
import numpy as np
import soundfile

RATE_HZ = 16_000
FPS = 25
MEL_PER_SECOND = 80
FLOOR_DB = -70.0
TOP_DB = -44.0
BRIGHT_MIDDLE_DB = -3.0
BRIGHT_RANGE_DB = 7.0

# (voice, pitch, words a minute); each speaks in its own language.
VOICES = [
    ("en-us+m3", 42, 165),
    ("en-us+f2", 55, 170),
    ("en-gb+m1", 35, 150),
    ("en-gb+f4", 60, 180),
    ("en-us+m7", 30, 140),
    ("en-gb-x-rp+f3", 50, 190),
    ("en-gb-scotland+m5", 45, 175),
    ("de+m2", 40, 160),
    ("de+f1", 58, 165),
    ("fr+f2", 55, 170),
    ("fr+m4", 42, 175),
    ("es+m6", 44, 180),
    ("it+f1", 60, 170),
    ("nl+m1", 38, 165),
    ("pt+f3", 52, 170),
]
# Never trained on: a woman's voice of another dialect, and its text.
HELD_OUT_VOICE = ("en-us-nyc+f5", 64, 158)
HELD_OUT_TEXT = [
    "The museum opens at nine, and the guided tour through the old harbour begins half an hour later.",
    "Why would anyone paint a lighthouse blue? Perhaps because the sea was grey that winter.",
    "Five brave foxes, very quick, jumped over the sleepy beagle; two judges applauded.",
    "Please remember to bring your passport, a warm coat, and something good to read.",
    "Oh, how wonderful! We should do this more often, should we not?",
]

WORDS = {
    "en": """a about above after again air all almost alone along already always among and animal answer any apple are
        around ask away back bad ball bank be beach bear beautiful because before begin behind believe below better
        between big bird black blue boat body book both bottom box boy bread break bring brother brown build but buy
        call came can car care carry cat catch change chair child choose church city clean clear close cloud coffee cold
        come could country cover cross cut dance dark daughter day deep did different do dog door down draw dream drink
        drive early earth east easy eat egg eight end enough even evening ever every eye face fall family far farm fast
        father feel feet few field fight find fire first fish five floor flower fly follow food foot for forest forget
        four free friend from front full game garden gave get girl give glass go gold good great green ground group grow
        had half hand happy hard has have head hear heart heavy help her here high hill him his hold home horse hot hour
        house how hundred idea if important in inside island it jump just keep kind king knew know lady lake land large
        last late laugh lead learn leave left letter life light like line listen little live long look love low machine
        made make man many map market may mean measure meet milk minute money month moon more morning most mother
        mountain mouth move much music must my name near need never new next night no noise north not nothing now number
        ocean of off often old on once one only open or orange other our out over own page paper part pass people
        picture piece place plane plant play please point poor power pretty problem pull push put queen question quick
        quiet rain reach read ready really red remember rest rich ride right river road rock room round rule run said
        sail same sand saw say school sea second see seven shall she ship shoe short should show side simple sing sister
        six sleep slow small snow so soft some song soon sound south space speak spring stand star start stay step still
        stone stop story street strong such summer sun sure swim table take talk tall teach tell ten than thank that the
        their them then there these they thing think this those thought thousand three through time to today together
        told too took top town train travel tree true try turn two under until up us use usual valley very village
        visit voice wait walk wall want warm was watch water way we weather week well went were west what wheel when
        where which while white who whole why wide wild will wind window winter wish with without woman wood word work
        world would write year yellow yes yet you young""",
    "de": """aber alle Abend Anfang auch auf Auge aus Baum bei Berg besser bis bitte blau Blume Brot Brücke Buch das
        dann dein denn der deutsch dich die doch dort draußen durch ein einfach Ende er es Farbe Feld Fenster Feuer
        Fluss Frage Frau frei Freund früh Frühling für ganz Garten gehen gelb gern Geschichte gestern gut Haus heute
        hier Himmel hoch hören ich immer in Insel ja jetzt jung Kind klein kommen können Land lang laut leben Leute
        Licht lieber machen Mädchen mehr mein Mensch mit Morgen müde Musik Mutter nach Nacht neu nicht noch nur oben
        oder ohne rot ruhig sagen schön Schule schwarz sehen sehr sein Sommer Sonne spät spielen Stadt Stein Stern
        Straße Stunde süß Tag tief Tür über und unter viel Vogel von vor warum Wasser Weg weiß weit wenn wer wie Wind
        wir Woche Wort wünschen Zeit zu zusammen zwischen""",
    "fr": """alors ami amour après arbre aujourd'hui aussi autre avec beau beaucoup bien bleu blanc bonjour bouche
        boulanger bout bras chaque chemin chien ciel comme couleur dans demain depuis deux dire doux eau école encore
        enfant ensemble entre est été étoile faire femme fenêtre feu fille fleur fleuve forêt frère froid grand heure
        heureux hier histoire hiver homme île jamais jardin jour journée lait le lentement livre loin lumière lune
        main maison mais matin mer mère monde montagne musique neige nuit nous oiseau ou oui pain parler partir pays
        peintre petit peut-être pluie plus porte pour pourquoi près printemps quand que question rien rivière rouge rue
        saison sans soir soleil souvent sur table temps terre toujours tout travail trop trouver vent vers vie vieux
        village ville vin voir voix vous vrai""",
    "es": """agua ahora alegre algo alto amigo amor año antes aquí árbol arriba azul bajo barco blanco boca bosque bueno
        caballo cada calle cama camino campo canción casa cielo cinco ciudad claro color comer cómo con corazón correr
        cosa cuando cuatro cuerpo dar de decir desde día donde dormir dulce ella en entonces escuela ese estrella feliz
        flor fuego gato gente grande hablar hacer hermano hijo hoja hombre hora hoy isla jardín joven jugar la lago
        lejos leer libro llegar lluvia luna luz madre mañana mano mar más mejor mes mesa mirar montaña mucho mujer
        mundo música nada negro niño noche nosotros nube nuevo nunca ojo otro padre pájaro palabra pan pequeño pero
        playa poco porque pueblo puerta qué querer río rojo saber ser siempre sol sombra sueño también tarde tiempo
        tierra todo trabajo tren tres uno uva vaca verde vida viento vino voz ya zapato""",
    "it": """acqua adesso albero allegro alto altro amico amore anche ancora anno aria bambino bello bene bianco bocca
        bosco buono caldo campo canzone casa cavallo cielo cinque città colore come con cuore cosa dentro dire dolce
        domani donna dopo dormire dove due e erba estate felice fiore fiume foglia forte fratello freddo fuoco gatto
        gente giallo giardino giorno giovane grande ieri inverno io isola lago latte leggere libro lontano luce luna
        lungo madre mano mare mattina meglio mese mondo montagna molto musica neve niente noi notte nuovo nuvola occhio
        oggi ogni ora padre paese pane parlare parola perché piazza piccolo pioggia più poco porta primavera quando
        quattro quello ragazza rosso sabbia scuola sempre sera sole sogno sorella spesso stella storia strada sul tardi
        tavolo tempo terra treno tutto uccello uomo uva vecchio vento verde vero via vicino vino vita voce zio""",
    "nl": """altijd avond bloem blauw boek boom brood brug buiten daar dag dan deur dorp drie droom een eiland en fiets
        geel gisteren goed groen groot hand hart hemel herfst hier hoe hond hoog huis iemand ik jaar jong kamer kind
        klein komen koud land lang langzaam leven lezen licht lopen lucht maan maar meer mens moeder mooi morgen muziek
        naar nacht niet nieuw nooit oog oud over paard plein praten regen rivier rood samen school schip slapen sneeuw
        snel spelen stad ster stil straat strand tafel tijd trein tuin uur vader veel verhaal vis vlag vogel voor vraag
        vriend vrouw vuur waar wandelen warm water weg werk wind winter wit woord zacht zee zien zingen zomer zon zwart""",
    "pt": """agora água alegre alto amanhã amigo amor ano antes aqui árvore azul baixo barco boca bom bonito branco
        cabelo cada caminho campo canção casa cavalo cedo céu chuva cidade cinco claro coisa com comer como coração
        correr dentro depois dia dizer doce dois dormir ela então escola esse estrela falar feliz filho flor floresta
        fogo folha frio gato gente grande hoje homem hora ilha irmão janela jardim jovem lago leite ler livro longe lua
        lugar luz mãe manhã mão mar mas melhor menino mesa montanha muito mulher mundo música nada não neve noite nome
        nosso novo nunca nuvem olho onde ontem outro pai pão palavra para pássaro pequeno perto porque porta praia
        primavera quando quatro que rio rosa rua sempre sol sonho sorte tarde tempo terra tudo uma vento verde vida
        vinho voz""",
}


def sentence(rng, language):
    """Words in any order, with commas and an end: every sound of the language turns up."""
    words = rng.sample(WORDS[language].split(), rng.randint(4, 13))
    for place in range(2, len(words) - 2):
        if rng.random() < 0.12:
            words[place] += ","
    return " ".join(words).capitalize() + rng.choice("...!?")


def say(text, voice, pitch, speed):
    """Speech at 16 kHz, peak 1."""
    command = ["espeak-ng", "-v", voice, "-p", str(pitch), "-s", str(speed), "--stdout", text]
    wav = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    samples, rate = soundfile.read(io.BytesIO(wav), dtype="float64")
    speech = librosa.resample(samples, orig_sr=rate, target_sr=RATE_HZ, res_type="soxr_hq" if _has_soxr() else "polyphase")
    return speech / max(1e-6, np.abs(speech).max())


def _has_soxr():
    try:
        import soxr  # noqa: F401
    except ImportError:
        return False
    return True


def mel(speech):
    """The mel spectrogram of the audio contract, [frames, 80]."""
    emphasised = np.append(speech[:1], speech[1:] - 0.97 * speech[:-1])
    spectrum = np.abs(librosa.stft(emphasised, n_fft=800, hop_length=200, win_length=800, pad_mode="constant"))
    bands = _basis() @ spectrum
    level = 20 * np.log10(np.maximum(1e-5, bands)) - 20
    return np.clip(8 * ((level + 100) / 100) - 4, -4, 4).T.astype(np.float32)


_BASIS = None


def _basis():
    global _BASIS
    if _BASIS is None:
        _BASIS = librosa.filters.mel(sr=RATE_HZ, n_fft=800, n_mels=80, fmin=55, fmax=7600)
    return _BASIS


_CENTRES = librosa.mel_frequencies(n_mels=82, fmin=55, fmax=7600)[1:-1]


def _level(db, low, high):
    band = (_CENTRES >= low) & (_CENTRES <= high)
    return 10 * np.log10(np.mean(10 ** (db[:, band] / 10), axis=1) + 1e-12)


def _smooth(values, half):
    kernel = np.hanning(2 * half + 3)[1:-1]
    return np.convolve(np.pad(values, half, mode="edge"), kernel / kernel.sum(), mode="valid")


def frame_count(mel_frames):
    return int((mel_frames - 16) / MEL_PER_SECOND * FPS) + 2


def mouth(mel_db):
    """(opening, width) of every video frame, from the clean mel spectrogram [frames, 80]."""
    db = (mel_db.astype(np.float64) + 4) / 8 * 100 - 100
    level = _level(db, 300, 3000)
    bright = _level(db, 1400, 3200) - _level(db, 250, 900)
    loud = np.clip((level - FLOOR_DB) / (TOP_DB - FLOOR_DB), 0, 1)
    opening = np.maximum(0, (_smooth(loud**1.2, 7) - 0.03) / 0.97)
    voiced = np.clip((level - FLOOR_DB) / 10, 0, 1)
    width = 0.5 + 0.5 * _smooth(voiced * np.tanh((bright - BRIGHT_MIDDLE_DB) / BRIGHT_RANGE_DB), 11)
    places = np.arange(frame_count(len(mel_db))) * MEL_PER_SECOND / FPS
    at = np.arange(len(mel_db))
    return np.stack([np.interp(places, at, opening), np.interp(places, at, width)], 1).astype(np.float32)


def windows(mel_db):
    """The audio encoder's inputs, [frames, 80, 16]."""
    count = frame_count(len(mel_db))
    starts = np.minimum((np.arange(count) * MEL_PER_SECOND / FPS).astype(int), len(mel_db) - 16)
    return np.stack([mel_db[start : start + 16].T for start in starts])


def utterance(rng, voice, pitch, speed, sentences=None):
    """A clip with pauses: about 6 s of speech."""
    pause = lambda low, high: np.zeros(int(rng.uniform(low, high) * RATE_HZ))
    parts = [pause(0, 0.5)]
    for text in sentences or [sentence(rng, voice.split("+")[0].split("-")[0]) for _ in range(rng.choice([1, 2, 2]))]:
        parts += [say(text, voice, pitch, speed), pause(0.1, 1.2)]
    return np.concatenate(parts)


def dataset(folder, seconds, seed):
    """Clips of all voices, made once and kept in `folder`."""
    key = hashlib.sha256(repr((VOICES, WORDS, seconds, seed)).encode()).hexdigest()[:12]
    path = pathlib.Path(folder) / f"speech-{key}.npz"
    if not path.exists():
        rng = random.Random(seed)
        clips, total = [], 0
        while total < seconds:
            voice, pitch, speed = VOICES[len(clips) % len(VOICES)]
            clip = utterance(rng, voice, pitch + rng.randint(-12, 12), speed + rng.randint(-25, 35))
            clips.append((clip * 32767).astype(np.int16))
            total += len(clip) / RATE_HZ
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, *clips)
    with np.load(path) as file:
        return [file[name].astype(np.float64) / 32767 for name in file.files]


def held_out(seed=99):
    """Speech of the held-out voice and text, at the level of a good recording."""
    return 0.7 * utterance(random.Random(seed), *HELD_OUT_VOICE, HELD_OUT_TEXT)
